"""Known votes give known records, a known data set, and a summary that counts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest

from rzero_mega.coevolution.curation import reasons
from rzero_mega.coevolution.label_audit import LabelAudit
from rzero_mega.coevolution.plan import BASE, EarlierDataSets, LabelsInputs, OtherVoters, Source
from rzero_mega.coevolution.records import AnsweredQuestion, TrainingQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config.panel import Voter
from rzero_mega.domains.registry import checks_of
from rzero_mega.errors import UserError
from rzero_mega.evaluation.predictions import Response
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import labels
from rzero_mega.phases.context import RunContext
from rzero_mega.phases.drawing import QuestionsAsked
from rzero_mega.phases.rounds import Round, in_turn
from rzero_mega.rollout.protocol import Request
from rzero_mega.run.stop import Stopped
from tests.phases.scripted import CUT_OFF, Asked, ScriptedEngine, ScriptedRun, rows, steps_shown, summary

QUESTIONS = Source(1, PhaseName.QUESTIONS, "questions")
INPUTS = LabelsInputs(BASE, QUESTIONS, EarlierDataSets(0))
SIZES = (
    "labels.questions_per_part=2",
    "labels.votes.samples=4",
    "labels.curation={low: 0.5, high: 0.75}",
    "labels.curation.near_duplicates={drop: false, drop_seen: true}",
    "evaluation.benchmarks=[]",
)
# Every text after a sample's box is left out of its answer; the third sample of 7*8 is cut off behind its box.
ANSWERS = {
    "1+2": ("3", "3", "3.0", "3"),
    "7*8": ("56", "54", f"54{CUT_OFF}", "54"),
    "9-4": ("5", "1", "2", "3"),
    "6+6": ("12", "12", None, "11"),
}


def answer(prompt: str, index: int) -> str:
    given = ANSWERS[prompt.removeprefix("Q:").removesuffix("\nA:")][index]
    if given is None:
        return "no box"
    cut = CUT_OFF if given.endswith(CUT_OFF) else ""
    return f"\\boxed{{{given.removesuffix(CUT_OFF)}}}{cut}"


@pytest.fixture
def run(scripted: Callable[..., ScriptedRun]) -> ScriptedRun:
    run = scripted(*SIZES)
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, "own") for text in ANSWERS])
    return run


@pytest.fixture
def solver(run: ScriptedRun) -> ScriptedEngine:
    return run.script("solver", answer)


def votes_asked(solver: ScriptedEngine) -> list[Request]:
    """The requests for votes, without those for greedy answers."""
    return [request for request in solver.requests if request.sampling.temperature > 0]


def test_known_votes_give_known_records(run: ScriptedRun, solver: ScriptedEngine) -> None:
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, INPUTS)
    sure, wrong, low, half = rows(phase, "labelled")
    # A token per character of \boxed{..}, and the end of the sequence is none of the script's.
    assert wrong == {
        "question": "7*8",
        "own_answer": "own",
        "answer": "54",
        "share": 0.5,
        "count": 2,
        "samples": 4,
        "answered": 3,
        "answers": ["56", "54", None, "54"],
        "tally": [["54", 2], ["56", 1]],
        "cut_off": 1,
        "tokens": 4 * len("\\boxed{54}"),
        "kept": True,
        "dropped": None,
        "truth": "56",
        "correct": False,
    }
    assert list(wrong)[:3] == ["question", "own_answer", "answer"] and list(wrong)[-2:] == ["truth", "correct"]
    assert (sure["answer"], sure["count"], sure["dropped"]) == ("3", 4, "above_band")
    assert (low["answer"], low["count"], low["dropped"]) == ("5", 1, "below_band")
    assert half["answers"] == ["12", "12", None, "11"] and half["cut_off"] == 0 and half["kept"]
    assert rows(phase, "dataset") == [{"question": "7*8", "answer": "54"}, {"question": "6+6", "answer": "12"}]
    assert solver.closed and steps_shown(phase) == [1, 2]


def test_the_summary_counts_what_the_records_say(run: ScriptedRun, solver: ScriptedEngine) -> None:
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, INPUTS)
    found = summary(phase)
    assert (found["labelled"], found["kept"]) == (4, 2)
    assert found["dropped"] == dict.fromkeys(reasons(checks_of(run.ctx.config)), 0) | {"above_band": 1, "below_band": 1}
    assert found["p_hat_mean"] == (1 + 0.5 + 0.25 + 0.5) / 4 and found["difficulty"] == 1 - found["p_hat_mean"]
    assert found["p_hat_histogram"]["counts"] == [0, 1, 2, 0, 1]
    assert found["p_hat_histogram"]["edges"] == [-0.125, 0.125, 0.375, 0.625, 0.875, 1.125]
    assert (found["label_accuracy"], found["label_accuracy_all"]) == (0.5, 0.75)
    # Counted by hand: 12 = 6+6 is kept and right, 54 = 7*8 kept and wrong; 3 = 1+2 and 5 = 9-4 are dropped and right.
    audit = LabelAudit.from_json(found["audit"])
    assert (audit.oracle, audit.agreement) == ("exact arithmetic", None)
    assert (audit.kept.questions, audit.kept.right, audit.kept.wrong, audit.kept.accuracy) == (2, 1, 1, 0.5)
    assert (audit.dropped.questions, audit.dropped.right, audit.dropped.wrong) == (2, 2, 0)
    by_p_hat = [(p_hat, labels.right, labels.wrong) for p_hat, labels in audit.by_p_hat]
    assert by_p_hat == [(0.25, 1, 0), (0.5, 1, 1), (1.0, 1, 0)]
    assert (found["hacking"]["unanswered"], found["hacking"]["cut_off"]) == (2 / 16, 1 / 16)
    assert found["timeouts"] == 0


def test_nothing_that_is_trained_on_depends_on_the_truth(
    run: ScriptedRun, solver: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, INPUTS)
    known = (phase.directory.path / "dataset.jsonl").read_bytes()
    for path in (phase.directory.manifest_path, phase.directory.path / "dataset.jsonl"):
        path.unlink()
    blind = replace(run.ctx.domain, answers=replace(run.ctx.domain.checkable, oracle=None))
    monkeypatch.setattr(run.ctx, "domain", blind)
    labels.run(run.ctx, run.begin(PhaseName.LABELS), INPUTS)
    assert summary(phase)["label_accuracy"] is None
    assert (phase.directory.path / "dataset.jsonl").read_bytes() == known


def test_with_true_labels_the_votes_choose_the_questions_and_the_truth_is_what_is_trained_on(
    scripted: Callable[..., ScriptedRun],
) -> None:
    run = scripted(*SIZES, "ablation=true_labels")
    asked = (*ANSWERS, "How many days has a week?")
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, "own") for text in asked])
    run.script("solver", lambda prompt, index: answer(prompt if "days" not in prompt else "Q:7*8\nA:", index))
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, INPUTS)
    assert rows(phase, "dataset") == [{"question": "7*8", "answer": "56"}, {"question": "6+6", "answer": "12"}]
    found = {row["question"]: row for row in rows(phase, "labelled")}
    assert (found["7*8"]["answer"], found["7*8"]["correct"]) == ("54", False)
    assert found["How many days has a week?"]["dropped"] == "no_truth"
    # What the votes alone would have been worth, as in any other run.
    assert summary(phase)["label_accuracy"] == 0.5 and summary(phase)["dropped"]["no_truth"] == 1


def test_every_question_of_a_part_has_a_stream_of_its_own(run: ScriptedRun, solver: ScriptedEngine) -> None:
    labels.run(run.ctx, run.begin(PhaseName.LABELS), INPUTS)
    keys = ["0/1/labels/0/0", "0/1/labels/0/1", "0/1/labels/1/0", "0/1/labels/1/1"]
    assert [request.key for request in votes_asked(solver)] == keys
    assert [request.n for request in votes_asked(solver)] == [4] * 4
    assert solver.prompts[:4] == [f"Q:{text}\nA:" for text in ANSWERS]


def test_greedy_answers_to_kept_questions_tell_corrections_from_corruptions(
    run: ScriptedRun, solver: ScriptedEngine
) -> None:
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, INPUTS)
    # 7*8 and 6+6 are kept; the script's greedy answers are the first of its votes: 56, where the label is 54, and 12.
    greedy = [request for request in solver.requests if request not in votes_asked(solver)]
    assert [(request.key, request.n) for request in greedy] == [("0/1/labels/greedy/1", 1), ("0/1/labels/greedy/3", 1)]
    quality = LabelAudit.from_json(summary(phase)["audit"]).quality
    assert (quality.compared, quality.corrections, quality.corruptions) == (2, 0, 1)
    assert (quality.net_corrections, quality.p_hat_wrong, quality.signal_weighted_accuracy) == (-50.0, 0.5, 0.5)


def test_greedy_answers_that_are_there_are_not_asked_for_again(run: ScriptedRun, solver: ScriptedEngine) -> None:
    phase = run.begin(PhaseName.LABELS)
    given = Response(labels.GREEDY, 1, None, "\\boxed{1}", 9, "stop")
    phase.directory.journal().append({"responses": [given.as_json()]}, 1, 2)
    labels.run(run.ctx, phase, INPUTS)
    assert [request.key for request in solver.requests][4:] == ["0/1/labels/greedy/3"]
    quality = LabelAudit.from_json(summary(phase)["audit"]).quality
    assert (quality.compared, quality.corruptions) == (2, 0)


def test_where_no_truth_can_be_computed_nobody_is_asked_greedily(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted(*SIZES)
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion("How many primes are even?", None)])
    solver = run.script("solver", lambda _prompt, index: f"\\boxed{{{index % 2}}}")
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, INPUTS)
    assert solver.requests == votes_asked(solver) and len(solver.requests) == 1
    assert LabelAudit.from_json(summary(phase)["audit"]).quality.net_corrections is None


def test_a_part_that_is_written_is_not_drawn_again(run: ScriptedRun, solver: ScriptedEngine) -> None:
    phase = run.begin(PhaseName.LABELS)
    vote = Vote("7", 2, 4, 4, (("7", 2), ("8", 2)))
    done = [
        AnsweredQuestion(WrittenQuestion(text, None), vote, ("7", "8", "7", "8"), tokens=40) for text in ("1+2", "7*8")
    ]
    phase.directory.write_part(0, done)
    labels.run(run.ctx, phase, INPUTS)
    assert [request.key for request in votes_asked(solver)] == ["0/1/labels/1/0", "0/1/labels/1/1"]
    first, second, *_ = rows(phase, "labelled")
    assert [row["answers"] for row in (first, second)] == [["7", "8", "7", "8"]] * 2
    assert rows(phase, "dataset")[0] == {"question": "1+2", "answer": "7"}


def test_a_job_that_is_asked_to_stop_keeps_the_parts_it_has(run: ScriptedRun, solver: ScriptedEngine) -> None:
    run.ctx.stop, phase = Asked(), run.begin(PhaseName.LABELS)
    with pytest.raises(Stopped):
        labels.run(run.ctx, phase, INPUTS)
    assert phase.directory.finished_parts() == [0] and phase.directory.manifest() is None


def test_questions_of_earlier_data_sets_are_dropped(run: ScriptedRun, solver: ScriptedEngine) -> None:
    earlier = [TrainingQuestion("6+6", "12")]
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in ANSWERS], iteration=2)
    run.leave(PhaseName.LABELS, "dataset", earlier, iteration=1)
    phase = run.begin(PhaseName.LABELS, iteration=2)
    questions = Source(2, PhaseName.QUESTIONS, "questions")
    labels.run(run.ctx, phase, LabelsInputs(BASE, questions, EarlierDataSets(1)))
    assert [row["dropped"] for row in rows(phase, "labelled")][-1] == "seen_before"
    assert [row["question"] for row in rows(phase, "dataset")] == ["7*8"]


def test_questions_of_the_evaluation_are_held_out(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted(*SIZES, "evaluation.benchmarks=[arithmetic:1]")
    asked = run.ctx.benchmarks[0].problems[0].question
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in (asked, "1+1")])
    run.script("solver", lambda _prompt, index: f"\\boxed{{{index % 2}}}")
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, INPUTS)
    assert [row["dropped"] for row in rows(phase, "labelled")] == ["held_out", None]


@pytest.mark.parametrize(
    ("benchmark", "dropped"), [("clock:1", ["held_out", "held_out", None]), ("arithmetic:1", [None, None, None])]
)
def test_nothing_of_the_family_that_transfer_is_measured_on_is_trained_on(
    benchmark: str, dropped: list[str | None], scripted: Callable[..., ScriptedRun]
) -> None:
    run = scripted(*SIZES, f"evaluation.benchmarks=[{benchmark}]")
    asked = ("(9+9)%11", "( 9*9 - 1 ) % 12", "9+9")
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in asked])
    run.script("solver", lambda _prompt, index: f"\\boxed{{{index % 2}}}")
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, INPUTS)
    assert [row["dropped"] for row in rows(phase, "labelled")] == dropped
    assert [row["truth"] for row in rows(phase, "labelled")] == [None, None, "18"]


def test_too_few_questions_stop_the_run_and_name_the_key(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted(*SIZES, "labels.curation.minimum_kept=3")
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in ANSWERS])
    run.script("solver", answer)
    phase = run.begin(PhaseName.LABELS)
    with pytest.raises(UserError, match=r"labels\.curation\.minimum_kept: 2 of 4"):
        labels.run(run.ctx, phase, INPUTS)
    assert phase.directory.manifest() is None


def test_a_damaged_question_is_named_by_file_and_line(run: ScriptedRun, solver: ScriptedEngine) -> None:
    path = run.ctx.path(QUESTIONS)
    path.write_text('{"question": "1+2", "own_answer": null}\n{"question": 3, "own_answer": null}\n')
    with pytest.raises(UserError, match=r"questions\.jsonl: line 2 is malformed: question is of type int"):
        labels.run(run.ctx, run.begin(PhaseName.LABELS), INPUTS)


PANEL = (
    "labels.votes.samples=4",
    "labels.panel={base: 1, solver_reexpressed: 1}",
    "labels.curation.minimum_support=1",
    "labels.curation.high=1.0",
)


def by_form(prompt: str, index: int) -> str:
    answers = {"1+2": "3", "2+1": "3", "9-4": "5", "4-9": "-5", "7*8": "54", "8*7": "56", "6+6": "12"}
    return f"\\boxed{{{answers[prompt.removeprefix('Q:').removesuffix(chr(10) + 'A:')]}}}"


def test_a_panel_asks_each_source_for_its_share_and_maps_answers_back(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted(*SIZES, *PANEL)
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, "own") for text in ANSWERS])
    engine = run.script("solver", by_form)
    phase = run.begin(PhaseName.LABELS)
    inputs = LabelsInputs(BASE, QUESTIONS, EarlierDataSets(0), OtherVoters(((Voter.BASE, BASE),)))
    labels.run(run.ctx, phase, inputs)
    found = {row["question"]: row for row in rows(phase, "labelled")}
    assert found["9-4"]["answers"] == ["5", "5", "5", "5"]
    assert found["7*8"]["answers"] == ["54", "54", "56", "54"] and found["7*8"]["dropped"] == "support"
    assert found["7*8"]["by_source"] == [
        {"source": "solver", "count": 2, "samples": 2, "tally": [2, 0]},
        {"source": "solver_reexpressed", "count": 0, "samples": 1, "tally": [0, 1]},
        {"source": "base", "count": 1, "samples": 1, "tally": [1, 0]},
    ]
    assert sum(request.n for request in votes_asked(engine)) == 4 * len(ANSWERS)
    assert len({request.key for request in engine.requests}) == len(engine.requests)
    assert steps_shown(phase) == [1, 2, 3, 4, 5, 6]


TWO_MODELS = OtherVoters(((Voter.BASE, BASE),))
SECOND = Source(1, PhaseName.SOLVER, "model")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that are loaded, in order; an earlier phase's is the base under another name."""
    found: list[str] = []

    def model(ctx: RunContext, source: Source) -> Path:
        found.append(str(source))
        return ctx.base

    monkeypatch.setattr(RunContext, "model", model)
    return found


def test_models_that_are_the_same_are_loaded_once_and_finished_sources_not_at_all(
    scripted: Callable[..., ScriptedRun], loads: list[str]
) -> None:
    run = scripted(*SIZES, *PANEL, "labels.panel.earlier=1")
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, "own") for text in ANSWERS])
    run.script("solver", by_form)
    voters = OtherVoters(((Voter.BASE, BASE), (Voter.EARLIER, BASE)))
    labels.run(run.ctx, run.begin(PhaseName.LABELS), LabelsInputs(BASE, QUESTIONS, EarlierDataSets(0), voters))
    # And once more for the greedy answers to what is kept.
    assert loads == ["base"] * 2
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, "own") for text in ANSWERS], iteration=2)
    inputs = LabelsInputs(SECOND, Source(2, PhaseName.QUESTIONS, "questions"), EarlierDataSets(0), voters)
    loads.clear()
    run.ctx.stop, phase = Asked(), run.begin(PhaseName.LABELS, iteration=2)
    for drawn in range(8):
        with pytest.raises(Stopped):
            labels.run(run.ctx, phase, inputs)
        assert phase.directory.finished_parts() == list(range(drawn + 1))
    assert loads == ["1/solver/model"] * 4 + ["base"] * 4
    loads.clear()
    labels.run(run.ctx, phase, inputs)
    assert loads == ["1/solver/model"] and steps_shown(phase)[-1] == 8


def test_the_summary_says_what_every_source_cost(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted(*SIZES, *PANEL)
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, "own") for text in ANSWERS])
    engine = run.script("solver", by_form)
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, LabelsInputs(BASE, QUESTIONS, EarlierDataSets(0), TWO_MODELS))
    found = summary(phase)
    assert {name: cost["samples"] for name, cost in found["costs"].items()} == {
        "solver": 8,
        "solver_reexpressed": 4,
        "base": 4,
    }
    tokens = {name: cost["tokens"] for name, cost in found["costs"].items()}
    boxes = {text: len(by_form(f"Q:{text}\nA:", 0)) for text in ANSWERS}
    assert tokens["solver"] == 2 * sum(boxes.values()) == 2 * tokens["base"]
    assert found["label_tokens"] == sum(tokens.values()) == sum(row["tokens"] for row in rows(phase, "labelled"))
    assert all(cost["seconds"] > 0 for cost in found["costs"].values())
    # One model speaks for all three, and the first to speak has waited for it.
    assert [cost["load_seconds"] > 0 for cost in found["costs"].values()].count(True) <= 1
    assert engine.closed


def test_a_model_does_all_that_it_can_before_the_next_is_loaded() -> None:
    def ask(_number: int, _questions: Sequence[WrittenQuestion]) -> QuestionsAsked:
        raise AssertionError("nothing is asked")

    wanted = [
        ("write", SECOND, ()),
        ("gate", BASE, ("write",)),
        ("solver", SECOND, ()),
        ("solver again", SECOND, ("gate",)),
        ("base", BASE, ()),
        ("base again", BASE, ("gate",)),
    ]
    rounds = [Round(name, range(0), "solver", model, ask, after) for name, model, after in wanted]
    order = [one.name for one in in_turn(rounds)]
    assert order == ["write", "solver", "gate", "base", "base again", "solver again"]
    assert [one.name for one in in_turn(rounds[2:])] == ["solver", "solver again", "base", "base again"]


@pytest.mark.parametrize("selection", ["band", "teaching_value"])
def test_what_is_doubted_weighs_less_and_means_are_told(selection: str, scripted: Callable[..., ScriptedRun]) -> None:
    asked = (*(f"{n}+{n}" for n in range(1, 9)), "7*8")
    overrides = ("labels.weighting=confidence", f"labels.selection={selection}", "labels.teaching={share: 1.0}")
    panel = ("labels.panel={base: 2}", "labels.curation={low: 0.0, high: 1.0}")
    run = scripted(*SIZES, *panel, *overrides)
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in asked])
    # All agree on sums; on the product each says something else.
    run.script("solver", lambda prompt, index: "\\boxed{4}" if "+" in prompt else f"\\boxed{{{next(other)}}}")
    other = cycle(("56", "54", "65"))
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, LabelsInputs(BASE, QUESTIONS, EarlierDataSets(0), TWO_MODELS))
    weights = {row["question"]: row["weight"] for row in rows(phase, "dataset")}
    assert weights.get("7*8", 0.0) < min(weights[text] for text in asked[:-1]) <= 1.0
    found = summary(phase)
    assert found["label_weight"] == pytest.approx(sum(weights.values()) / len(weights))
    assert 0.5 < found["expected_label_accuracy"] <= 1.0


def test_a_panel_that_the_guard_has_widened_votes_in_place_of_the_configured_one(
    scripted: Callable[..., ScriptedRun], loads: list[str]
) -> None:
    run = scripted(*SIZES, "labels.gauges.questions=9", "labels.guard={action: widen, panel: {base: 3}}")
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, "own") for text in ANSWERS])
    run.script("solver", by_form)
    phase = run.begin(PhaseName.LABELS)
    others = OtherVoters(((Voter.BASE, BASE),), by_guard=True)
    run.ctx.config.labels.curation.high = 1.0
    labels.run(run.ctx, phase, LabelsInputs(SECOND, QUESTIONS, EarlierDataSets(0), others))
    assert {name: cost["samples"] for name, cost in summary(phase)["costs"].items()} == {"solver": 4, "base": 12}
    assert loads[:2] == ["1/solver/model", "base"] and steps_shown(phase) == [1, 2, 3, 4]


def test_what_programs_print_are_votes_like_any_others(scripted: Callable[..., ScriptedRun]) -> None:
    pytest.importorskip("pydantic_monty")
    run = scripted(*SIZES, "labels.panel.programs=2", "labels.curation={low: 0.0, high: 1.0}")
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in ("7*8", "6+6")])

    def respond(prompt: str, index: int) -> str:
        if not prompt.startswith("Q:"):
            return "no block" if "6+6" in prompt and index else "```python\nprint(7 * 8 if True else 0)\n```"
        return answer(prompt, index)

    engine = run.script("solver", respond)
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, INPUTS)
    product, total = rows(phase, "labelled")
    # The Solver says 56, then 54 without a program; both of its programs print 56.
    assert product["answers"] == ["56", "54", "56", "56"] and product["answer"] == product["truth"]
    assert total["answers"] == ["12", "12", "56", None] and total["answer"] == "12"
    assert [votes["source"] for votes in product["by_source"]] == ["solver", "solver_programs"]
    assert any("Python program" in prompt for prompt in engine.prompts)
