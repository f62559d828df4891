"""A domain whose answers have scores: it goes through the phases without a vote, a label or a truth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rzero_mega.coevolution.plan import (
    BASE,
    ChallengerInputs,
    EarlierDataSets,
    EvaluateInputs,
    LabelsInputs,
    QuestionsInputs,
    SolverInputs,
    Source,
)
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.commands.audit import audit_run
from rzero_mega.commands.checks import check_inference
from rzero_mega.config import load_config
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.domains.mathematics.checks import CHECKS
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import challenger, evaluate, labels, questions, solver
from rzero_mega.phases.scoring import DomainScorer
from rzero_mega.run.stop import Stopped
from rzero_mega.tracking.progress import iterations_table
from rzero_mega.tracking.report import render
from rzero_mega.tracking.report_data import gather
from rzero_mega.tracking.status import run_status
from rzero_mega.tracking.wandb_rows import step_values, summary_values
from tests.domains import shortening
from tests.domains.package import install
from tests.domains.shortening import ANSWERS, DOMAIN
from tests.phases.scripted import CUT_OFF, Asked, ScriptedRun, rows, summary
from tests.phases.training import RolloutsOnly

WRITTEN = ("ask abcd", "nothing", "ask abcdefgh", "ask wxyz")
SAID = {
    "abcd": ("say ab", "say a", f"say a{CUT_OFF}", "say abcd"),
    "abcdefgh": ("say abcd", "say efgh", "say aceg", "say bdfh"),
    "wxyz": ("wxyz", "w", "say ", ""),
}
SETTINGS = ("domain=shortening", "challenger.reward.uncertainty=shortfall", "labels.gauges.questions=0")
QUESTIONS = Source(1, PhaseName.QUESTIONS, "questions")
LABELS = LabelsInputs(BASE, QUESTIONS, EarlierDataSets(0))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", shortening="tests.domains.shortening:DOMAIN", reversal="tests.domains.reversal:DOMAIN")
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def run(installed: None, tmp_path: Path) -> Iterator[ScriptedRun]:
    overrides = (
        *SETTINGS,
        "challenger.training={prompts_per_step: 1, rollouts_per_prompt: 4, grpo: {sequences_per_update: 4}}",
        "challenger.votes.samples=4",
        "challenger.reward={malformed: -1.0, repetition: {weight: 0.0}}",
        "questions={count: 4, per_part: 4, require_boxed: false}",
        "labels.votes.samples=4",
        "labels.questions_per_part=2",
        "labels.curation={low: 0.25, high: 1.0, drop_held_out: false}",
        "solver.training={prompts_per_step: 1, rollouts_per_prompt: 4, grpo: {sequences_per_update: 4}}",
        "evaluation={benchmarks: [shortening], samples: 4}",
    )

    def say(prompt: str, index: int) -> str:
        return SAID.get(prompt.removeprefix("Shorten: ").removesuffix("\nI "), ("say held",) * 4)[index]

    with closing(ScriptedRun(tmp_path, overrides)) as run:
        run.script("challenger", lambda _prompt, index: WRITTEN[index])
        run.script("solver", say)
        yield run


def test_a_challenger_earns_what_the_answers_to_its_questions_lack(
    run: ScriptedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = RolloutsOnly(run.engines["challenger"], 1)
    monkeypatch.setattr(challenger, "train_policy", training)
    challenger.run(run.ctx, run.begin(PhaseName.CHALLENGER), ChallengerInputs(BASE, BASE))
    (rollouts,) = training.drawn
    # Scores of `abcd` are 1/2, 3/4, 0 (cut off) and 0; of `abcdefgh` all 1/2; of `wxyz` all 0, for want of an answer.
    assert rollouts.rewards == [1 - 0.3125, -1.0, 0.5, 1.0]
    assert rollouts.metrics["score_mean"] == pytest.approx((0.3125 + 0.5) / 3)
    assert rollouts.metrics["unanswered_rate"] == pytest.approx(5 / 12)
    assert not {"p_hat_mean", "difficulty", "quality_mean"} & rollouts.metrics.keys()
    sent = step_values(PhaseName.CHALLENGER, {"step": 1, **rollouts.metrics}, 1, 1)
    assert sent["questions/challenger/spread_mean"] == rollouts.metrics["spread_mean"]


def test_questions_are_kept_by_the_spread_of_scores_and_the_solver_earns_its_score(
    run: ScriptedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions.run(run.ctx, run.begin(PhaseName.QUESTIONS), QuestionsInputs(BASE))
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, LABELS)
    short, long, unanswered = rows(phase, "scored")
    assert short["scores"] == [0.5, 0.75, 0.0, 0.0] and short["answers"] == ["ab", "a", None, "abcd"]
    assert (short["qualities"], short["kept"], short["cut_off"]) == ([0.5, 0.25, 0.0, 1.0], True, 1)
    assert (long["spread"], long["dropped"], unanswered["dropped"]) == (0.0, "scores_alike", "unanswered")
    assert rows(phase, "dataset") == [{"question": "abcd"}]

    found = summary(phase)
    assert (found["scored"], found["kept"], found["dropped"]["scores_alike"]) == (3, 1, 1)
    assert found["scores"]["quality"] == pytest.approx((0.4375 + 0.5 + 0.0) / 3)
    assert found["scores"]["quality_kept"] == 0.4375
    assert not {"label_accuracy", "audit", "p_hat_mean", "hacking"} & found.keys()

    training = RolloutsOnly(run.engines["solver"], 1)
    monkeypatch.setattr(solver, "train_policy", training)
    solver.run(run.ctx, run.begin(PhaseName.SOLVER), SolverInputs(BASE, Source(1, PhaseName.LABELS, "dataset")))
    (rollouts,) = training.drawn
    assert rollouts.rewards == [0.5, 0.75, 0.0, 0.0] and rollouts.metrics == {"score": 0.3125}


def test_a_benchmark_scores_the_hidden_quality_and_only_the_whole_of_it_is_right(run: ScriptedRun) -> None:
    phase = run.begin(PhaseName.EVALUATE)
    evaluate.run(run.ctx, phase, EvaluateInputs(BASE))
    assert [(row["question"], row["mean"], row["vote"]) for row in rows(phase, "scores")] == [
        ("abcd", 0.4375, False),
        ("held", 1.0, True),
    ]
    judged = {(row["prediction"], row["right"], row["quality"]) for row in rows(phase, "predictions")}
    assert judged == {
        ("ab", False, 0.5),
        ("a", False, 0.25),
        (None, False, 0.0),
        ("abcd", True, 1.0),
        ("held", True, 1.0),
    }
    assert summary(phase)["pass1_mean"] == (0.4375 + 1.0) / 2


def test_hidden_quality_stands_where_label_accuracy_does(run: ScriptedRun) -> None:
    questions.run(run.ctx, run.begin(PhaseName.QUESTIONS), QuestionsInputs(BASE))
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, LABELS)
    status = run_status(run.directory)
    (scores,) = [row.scores for row in status.iterations if row.iteration == 1]
    assert scores is not None and scores.quality == pytest.approx(0.3125)
    headings = [str(column.header) for column in iterations_table(status, width=200).columns]
    assert "hidden quality" in headings and "label accuracy" not in headings

    page = render(gather(run.directory))
    assert "hidden, of kept" in page and "Which questions are trained on" in page
    assert "majority answer" not in page and "p̂" not in page

    manifest = phase.directory.manifest()
    assert manifest is not None
    sent = summary_values(manifest)
    assert sent["labels/scores/quality"] == pytest.approx(0.3125) and "labels/paper_label_accuracy" not in sent


def test_questions_of_earlier_iterations_and_of_benchmarks_are_known_without_labels(run: ScriptedRun) -> None:
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion("abcd", None)])
    labels.run(run.ctx, run.begin(PhaseName.LABELS), LABELS)
    run.ctx.config.labels.curation.drop_held_out = True
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion("abcd", None)], 2)
    inputs = LabelsInputs(BASE, Source(2, PhaseName.QUESTIONS, "questions"), EarlierDataSets(1))
    with pytest.raises(UserError, match=r"minimum_kept: 0 of 1 scored questions were kept .* held_out 1"):
        labels.run(run.ctx, run.begin(PhaseName.LABELS, 2), inputs)
    run.ctx.config.labels.curation.near_duplicates.drop_seen = True
    with pytest.raises(UserError, match="dropped: seen_before 1"):
        labels.run(run.ctx, run.begin(PhaseName.LABELS, 2), inputs)


def test_a_phase_that_is_stopped_after_every_part_leaves_the_same_files(run: ScriptedRun) -> None:
    written = [WrittenQuestion(word, None) for word in SAID]
    left = []
    for iteration in (1, 2):
        run.leave(PhaseName.QUESTIONS, "questions", written, iteration)
        phase, source = run.begin(PhaseName.LABELS, iteration), Source(iteration, PhaseName.QUESTIONS, "questions")
        inputs = LabelsInputs(BASE, source, EarlierDataSets(0))
        if iteration == 2:
            run.ctx.stop = Asked()
            for parts in ([0], [0, 1]):
                with pytest.raises(Stopped):
                    labels.run(run.ctx, phase, inputs)
                assert phase.directory.finished_parts() == parts
        labels.run(run.ctx, phase, inputs)
        left.append([(phase.directory.path / f"{name}.jsonl").read_bytes() for name in ("scored", "dataset")])
    assert left[0] == left[1]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["challenger.reward.uncertainty=tent"], "challenger.reward.uncertainty: .*; set it to shortfall or spread"),
        (["labels.gauges.questions=10"], "labels.gauges.questions: .* domain shortening have scores; set it to 0"),
        (["labels.panel.base=2"], "labels.panel: "),
        (["labels={panel: {base: 2}, selection: teaching_value}"], "labels.panel: "),
        (["labels.label=truth"], "labels.label: .*; set it to votes"),
        (["labels.replay.questions=5"], "labels.replay.questions: "),
        (["labels.abort_decided=true"], "labels.abort_decided: .*; set it to false"),
        (["labels.votes.unanswered=answer"], "labels.votes.unanswered: .*; set it to denominator"),
        (["labels.curation.drop_answers=[none]"], "labels.curation.drop_answers: "),
        (["labels.audit.endpoint={url: 'http://127.0.0.1:1/v1', model: m}"], "labels.audit.endpoint.url: "),
        (["solver.accumulate=true"], "solver.accumulate: .*; set it to false"),
        (["verifier.train=true"], "verifier.train: .*; set it to false"),
        (["labelled={method: grpo, data: 'arithmetic:8'}"], "labelled.method: .*; set it to votes"),
        (["evaluation.benchmarks=[arithmetic:1]"], "the grader of mathematics judges them, and domain shortening has"),
    ],
)
def test_what_takes_votes_is_refused_by_its_key_before_anything_starts(
    installed: None, settings: list[str], complaint: str
) -> None:
    usual = ["paper", "nano"], [*SETTINGS, "evaluation.benchmarks=[shortening]"]
    check_inference(load_config(*usual))
    with pytest.raises(UserError, match=complaint):
        check_inference(load_config(usual[0], [*usual[1], *settings]))


def test_scores_are_refused_where_answers_are_right_or_wrong(installed: None) -> None:
    for domain in ("reversal", "mathematics"):
        settings = [f"domain={domain}", "evaluation.benchmarks=[]", "challenger.reward.uncertainty=spread"]
        with pytest.raises(UserError, match=r"challenger.reward.uncertainty: .* right or wrong; set it to tent or min"):
            check_inference(load_config(["paper"], settings))
    with pytest.raises(UserError, match="the grader of shortening judges them, and domain arithmetic has another one"):
        check_inference(load_config(["paper", "nano"], ["evaluation.benchmarks=[shortening]"]))


def test_a_domain_without_a_quality_has_no_benchmark_and_one_with_checks_is_refused(
    installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(["paper", "nano"], [*SETTINGS, "evaluation.benchmarks=[shortening]"])
    monkeypatch.setattr(shortening, "DOMAIN", replace(DOMAIN, answers=replace(ANSWERS, quality=None)))
    with pytest.raises(UserError, match="domain shortening computes no quality"):
        check_inference(config)
    monkeypatch.setattr(shortening, "DOMAIN", replace(DOMAIN, checks=CHECKS))
    with pytest.raises(UserError, match="domain: checks look at votes"):
        check_inference(config)


def test_there_are_no_labels_to_audit(run: ScriptedRun) -> None:
    endpoint = ["labels.audit.endpoint={url: 'http://127.0.0.1:1/v1', model: m}"]
    with pytest.raises(UserError, match="domain: answers of shortening have scores"):
        audit_run(run.directory, None, endpoint)


def test_a_score_outside_0_and_1_is_the_domain_s_fault() -> None:
    wrong = ScoredAnswers(shortening.read_answer, score=lambda question, answer: 1.5)
    assert DomainScorer(ANSWERS).scores([("abcd", "a"), ("abcd", None)]) == [0.75, 0.0]
    with pytest.raises(ValueError, match=r"is 1\.5, and not between 0 and 1"):
        DomainScorer(wrong).scores([("abcd", "a")])
    with pytest.raises(TypeError, match="answers of domain shortening are scored"):
        _ = DOMAIN.checkable
