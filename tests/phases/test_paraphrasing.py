"""Paraphrases are written, checked and asked, part by part; a question whose paraphrase fails is asked as it stands."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rzero_mega.coevolution.plan import BASE, EarlierDataSets, LabelsInputs, Paraphrasers, Source, iteration_plan
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.config import load_config
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import labels
from rzero_mega.run.stop import Stopped
from tests.phases.scripted import Asked, ScriptedEngine, ScriptedRun, rows, steps_shown, summary

QUESTIONS = Source(1, PhaseName.QUESTIONS, "questions")
INPUTS = LabelsInputs(BASE, QUESTIONS, EarlierDataSets(0), paraphrasers=Paraphrasers(BASE, BASE))
SIZES = (
    "labels.questions_per_part=2",
    "labels.votes.samples=4",
    "labels.panel={solver_reexpressed: 2, reexpression: paraphrase, paraphrase: {gate_samples: 3}}",
    "labels.curation={low: 0.1, high: 1.0, drop_duplicates: false}",
    "evaluation.benchmarks=[]",
)
WRITTEN = {
    "9-4": "<question>9 less 4</question>",
    "1+2": "no block",
    "7*8": "<question>7 times 9</question>",
    "6+6": "<question>6 less 6</question>",
}
TRUTH = {"9-4": "5", "9 less 4": "5", "1+2": "3", "7*8": "56", "6+6": "12", "6 less 6": "0"}


def respond(prompt: str, index: int) -> str:
    if prompt.startswith("P:"):
        return WRITTEN[prompt.removeprefix("P:")]
    text = prompt.removeprefix("Q:").removesuffix("\nA:")
    return f"\\boxed{{{TRUTH[text] if index < 2 else 1}}}"


@pytest.fixture
def prompt(tmp_path: Path) -> str:
    (tmp_path / "paraphrase.yaml").write_text('raw: "P:{question}"\n')
    return f"prompts.paraphrase={tmp_path / 'paraphrase.yaml'}"


@pytest.fixture
def run(scripted: Callable[..., ScriptedRun], prompt: str) -> ScriptedRun:
    run = scripted(*SIZES, prompt)
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in WRITTEN])
    return run


def asked(engine: ScriptedEngine, *names: str) -> list[str]:
    """The prompts of requests whose keys have these names."""
    keys = [request.key for request in engine.requests]
    return [text for key, text in zip(keys, engine.prompts, strict=True) if all(name in key for name in names)]


def test_what_passes_is_asked_and_what_fails_is_asked_as_it_stands(run: ScriptedRun) -> None:
    engine, phase = run.script("solver", respond), run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, INPUTS)
    assert asked(engine, "/paraphrases/") == [f"P:{text}" for text in WRITTEN]
    assert asked(engine, "/paraphrases_checked/") == [
        f"Q:{text}\nA:" for text in ("9-4", "9 less 4", "6+6", "6 less 6")
    ]
    votes = ["9 less 4", "1+2", "7*8", "6+6"]
    assert asked(engine, "/solver_reexpressed/") == [f"Q:{text}\nA:" for text in votes]
    assert len({request.key for request in engine.requests}) == len(engine.requests)
    assert rows(phase, "paraphrases") == [
        {
            "question": "9-4",
            "paraphrase": "9 less 4",
            "verdict": "passed",
            "answers": ["5", "5", "1"],
            "answers_to_paraphrase": ["5", "5", "1"],
        },
        {"question": "1+2", "paraphrase": None, "verdict": "unparsed", "answers": [], "answers_to_paraphrase": []},
        {
            "question": "7*8",
            "paraphrase": "7 times 9",
            "verdict": "numbers",
            "answers": [],
            "answers_to_paraphrase": [],
        },
        {
            "question": "6+6",
            "paraphrase": "6 less 6",
            "verdict": "meaning",
            "answers": ["12", "12", "1"],
            "answers_to_paraphrase": ["0", "0", "1"],
        },
    ]
    assert [row["answers"] for row in rows(phase, "labelled")] == [[a] * 4 for a in ("5", "3", "56", "12")]
    found = summary(phase)
    assert found["paraphrases"] == {"parsed": 0.75, "kept_numbers": 0.5, "used": 0.25}
    assert {name: cost["samples"] for name, cost in found["costs"].items()} == {
        "solver": 8,
        "solver_reexpressed": 8,
        "paraphrases": 4,
        "paraphrases_checked": 12,
    }
    assert found["costs"]["paraphrases"]["tokens"] == sum(map(len, WRITTEN.values()))
    assert found["label_tokens"] == sum(cost["tokens"] for cost in found["costs"].values())
    manifest = phase.directory.manifest()
    assert manifest is not None and "paraphrases" in manifest.outputs


def test_a_phase_that_is_stopped_after_every_part_ends_as_one_that_is_not(run: ScriptedRun) -> None:
    engine, phase = run.script("solver", respond), run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, INPUTS)
    whole = {name: rows(phase, name) for name in ("paraphrases", "labelled", "dataset")}
    requests = sorted(request.key for request in engine.requests)
    again = run.script("solver", respond)
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in WRITTEN], iteration=2)
    stopped, run.ctx.stop = run.begin(PhaseName.LABELS, iteration=2), Asked()
    inputs = replace(INPUTS, questions=Source(2, PhaseName.QUESTIONS, "questions"))
    for _ in range(8):
        with pytest.raises(Stopped):
            labels.run(run.ctx, stopped, inputs)
    labels.run(run.ctx, stopped, inputs)
    assert {name: rows(stopped, name) for name in whole} == whole
    assert sorted(request.key.replace("0/2/", "0/1/") for request in again.requests) == requests
    assert steps_shown(stopped)[-1] == 8


def test_a_paraphrase_that_is_written_anew_after_it_was_checked_is_not_asked(
    run: ScriptedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers don't draw the same again where somebody has removed a part."""
    engine, phase = run.script("solver", respond), run.begin(PhaseName.LABELS)
    goes_on, run.ctx.stop = run.ctx.stop, Asked()
    for _ in range(4):
        with pytest.raises(Stopped):
            labels.run(run.ctx, phase, INPUTS)
    assert phase.directory.finished_parts() == [4, 5, 6, 7]
    phase.directory.part_path(4).unlink()
    monkeypatch.setitem(WRITTEN, "9-4", "<question>4 less 9</question>")
    run.ctx.stop = goes_on
    labels.run(run.ctx, phase, INPUTS)
    assert rows(phase, "paraphrases")[0]["paraphrase"] == "9 less 4"
    assert asked(engine, "/solver_reexpressed/")[0] == "Q:9 less 4\nA:"


def test_the_challenger_writes_on_its_own_servers_and_the_base_checks_on_the_solver_s(run: ScriptedRun) -> None:
    run.ctx.config.labels.panel.paraphrase.writer = "challenger"
    solver, challenger = run.script("solver", respond), run.script("challenger", respond)
    labels.run(run.ctx, run.begin(PhaseName.LABELS), INPUTS)
    assert [text[0] for text in challenger.prompts] == ["P"] * 4
    assert {text[0] for text in solver.prompts} == {"Q"}


def test_a_run_with_a_real_model_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """nano's base goes on writing questions of its own: whatever comes of them, both runs have the same."""
    (tmp_path / "again.yaml").write_text('raw: "Q:{question}\\nA:{question}\\nC:"\n')
    short = "sampling: {max_new_tokens: 40}"
    overrides = (
        "labels.questions_per_part=3",
        f"labels.votes={{samples: 2, {short}}}",
        "labels.panel={solver_reexpressed: 1, reexpression: paraphrase}",
        f"labels.panel.paraphrase={{gate_samples: 2, {short}}}",
        "labels.curation={low: 0.1, high: 1.0}",
        "evaluation.benchmarks=[]",
        f"prompts.paraphrase={tmp_path / 'again.yaml'}",
    )
    found = []
    for name, stops in (("whole", 0), ("stopped", 5)):
        (tmp_path / name).mkdir()
        with closing(ScriptedRun(tmp_path / name, overrides)) as run:
            texts = ("12+5", "7*8-3", "90-4*6", "3+3", "41-17", "8*9")
            run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in texts])
            phase, goes_on, run.ctx.stop = run.begin(PhaseName.LABELS), run.ctx.stop, Asked()
            for _ in range(stops):
                with pytest.raises(Stopped):
                    labels.run(run.ctx, phase, INPUTS)
            run.ctx.stop = goes_on
            labels.run(run.ctx, phase, INPUTS)
            found.append({name: rows(phase, name) for name in ("paraphrases", "labelled", "dataset")})
    assert found[0] == found[1]
    assert len(found[0]["paraphrases"]) == 6


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["labels.panel.reexpression=words"], r"labels\.panel\.reexpression: 'words' is not one of exact, paraphrase"),
        (["labels.panel.paraphrase.writer=base"], r"labels\.panel\.paraphrase\.writer: 'base' is not one of"),
        (["labels.panel.paraphrase.gate_samples=0"], r"labels\.panel\.paraphrase\.gate_samples: 0 is below"),
    ],
)
def test_impossible_values_are_one_line_that_names_the_key(overrides: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        load_config(["paper", "nano"], overrides)


def test_the_models_that_write_and_check_are_inputs_of_the_phase() -> None:
    panel = "labels.panel={solver_reexpressed: 3, reexpression: paraphrase, paraphrase: {writer: challenger}}"
    plans = [plan for plan in iteration_plan(load_config(["paper", "nano"], ["iterations=2", panel]))]
    (_, second) = [plan for plan in plans if plan.name is PhaseName.LABELS]
    assert str(second) == (
        "2/labels: 1/solver/model, 2/questions/questions, 1/labels/dataset, 2/challenger/model, base -> dataset"
    )
    assert {str(source) for source in second.sources} >= {"2/challenger/model", "base"}
    off = load_config(["paper", "nano"], ["labels.panel={base: 3, reexpression: paraphrase}"])
    assert [plan.inputs.paraphrasers for plan in iteration_plan(off) if isinstance(plan.inputs, LabelsInputs)] == [
        None
    ] * len([plan for plan in iteration_plan(off) if plan.name is PhaseName.LABELS])
