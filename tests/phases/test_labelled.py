"""Labelled fine-tuning on the nano base: what is trained on, what it brings, and that it goes on to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from rzero_mega.coevolution.plan import BASE, LABELLED_DATA, LabelledInputs, solver_batch
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.domains.arithmetic.expressions import held_out_set
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import labelled, solver
from rzero_mega.phases.context import ActivePhase
from rzero_mega.rollout.limits import end_token
from rzero_mega.rollout.protocol import Request
from rzero_mega.run.stop import Stopped
from tests.phases.scripted import Asked, ScriptedRun, rows, steps_shown, summary
from tests.phases.training import RolloutsOnly

INPUTS = LabelledInputs(BASE, LABELLED_DATA)
SFT = ("labelled.method=sft", "labelled.data=arithmetic:300", "labelled.sft.sequences_per_update=32")
FEW = (*SFT, "labelled.sft.sequences_per_update=8", "solver.training.steps=3")
TIMES = ("seconds", "tokens_per_second")


def train(run: ScriptedRun) -> ActivePhase:
    phase = run.begin(PhaseName.SOLVER)
    labelled.run(run.ctx, phase, INPUTS)
    return phase


def weights(phase: ActivePhase) -> bytes:
    return (phase.directory.path / "model" / "model.safetensors").read_bytes()


def without_times(phase: ActivePhase) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row if not key.endswith(TIMES)} for row in rows(phase, "metrics")]


def accuracy(run: ScriptedRun, model: Path) -> float:
    """Share of four samples each on a hundred held-out expressions that the model gets right."""
    problems = held_out_set(20)
    engine = run.ctx.engine("solver", model)
    sampling = run.ctx.config.evaluation.sampling
    samples = engine.generate(
        [Request(str(i), run.ctx.solver_prompt(p.expression), 4, sampling) for i, p in enumerate(problems)]
    )
    texts = run.ctx.texts(samples)
    answers = [problem.answer for problem in problems for _ in range(4)]
    return fmean(text.endswith(f"\\boxed{{{answer}}}") for text, answer in zip(texts, answers, strict=True))


def test_fine_tuning_lowers_the_loss_and_raises_accuracy(training_runs: Callable[..., ScriptedRun]) -> None:
    run = training_runs("a", *SFT, "solver.training.steps=20", "solver.training.optimizer.learning_rate=3e-4")
    phase = train(run)
    losses = [row["loss"] for row in rows(phase, "metrics")]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert accuracy(run, phase.directory.path / "model") > accuracy(run, run.base) + 0.04
    (first, *_, last) = rows(phase, "metrics")
    assert (first["epoch"], last["epoch"]) == (pytest.approx(32 / 300), pytest.approx(640 / 300))
    assert first["updates"] == 1.0 and "reward_mean" not in first
    found = summary(phase)
    assert (found["examples"], found["epochs"]) == (300, pytest.approx(640 / 300))
    assert found["dropped"] == {"duplicate": 0, "held_out": 0, "overlong": 0}


def test_a_phase_that_was_stopped_goes_on_to_the_same_rows_and_bytes(training_runs: Callable[..., ScriptedRun]) -> None:
    undisturbed = train(training_runs("a", *FEW))
    stopped = training_runs("b", *FEW)
    stopped.ctx.stop = Asked()
    with pytest.raises(Stopped):
        train(stopped)
    resumed = train(training_runs("b", *FEW))
    assert steps_shown(resumed) == [1, 2, 3]
    assert without_times(resumed) == without_times(undisturbed)
    assert weights(resumed) == weights(undisturbed)


def test_an_example_is_trained_on_as_it_is_asked_and_answered_later(
    training_runs: Callable[..., ScriptedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question in the Solver's prompt and a prompt as it stands; behind the target the token that ends a sample."""
    given = [{"question": "12*3", "answer": "36"}, {"prompt": "Q:1+1\nA:", "completion": "1+1=2\\boxed{2}"}]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    run = training_runs(
        "a", "labelled.method=sft", f"labelled.data={tmp_path / 'data.jsonl'}", "solver.training.steps=1"
    )
    taken: list[Any] = []
    monkeypatch.setattr(labelled, "_fine_tune", lambda *arguments: taken.extend(arguments[3]))
    labelled.run(run.ctx, run.begin(PhaseName.SOLVER), INPUTS)
    texts = [run.ctx.encoder.decode([example.prompt, example.target]) for example in taken]
    assert texts == [["Q:12*3\nA:", "\\boxed{36}"], ["Q:1+1\nA:", "1+1=2\\boxed{2}"]]
    assert {example.target[-1] for example in taken} == {end_token(run.base)}


def test_grpo_rewards_the_answers_of_the_data(
    training_runs: Callable[..., ScriptedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [{"question": f"{n}+{n}", "answer": 2 * n} for n in range(1, 6)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    sizes = ("solver.training.prompts_per_step=2", "solver.training.rollouts_per_prompt=2")
    run = training_runs("a", "labelled.method=grpo", f"labelled.data={tmp_path / 'data.jsonl'}", *sizes,
               "solver.training.grpo.sequences_per_update=4")  # fmt: skip
    training = RolloutsOnly(run.script("solver", lambda prompt, i: "\\boxed{4}" if i else "\\boxed{6.0}"), steps=2)
    monkeypatch.setattr(solver, "train_policy", training)
    labelled.run(run.ctx, run.begin(PhaseName.SOLVER), INPUTS)
    order = derive_seed("0/1/solver/order")
    batches = [item for step in (1, 2) for item in solver_batch(5, step, 2, order)]
    assert training.engine.prompts == [f"Q:{given[item]['question']}\nA:" for item in batches]
    expected = [[float(n == 3), float(n == 2)] for n in (given[item]["answer"] // 2 for item in batches)]  # type: ignore[operator]
    assert [reward for rollouts in training.drawn for reward in rollouts.rewards] == [
        r for pair in expected for r in pair
    ]


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_what_is_too_long_is_left_out_and_counted(
    training_runs: Callable[..., ScriptedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    long = {"question": "1+" * 300 + "1", "answer": "301"}
    (tmp_path / "data.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in ({"question": "1", "answer": "1"}, long))
    )
    settings = (f"labelled.method={method}", f"labelled.data={tmp_path / 'data.jsonl'}", "solver.training.steps=0")
    run = training_runs("a", *settings)
    if method == "grpo":
        monkeypatch.setattr(solver, "train_policy", lambda *_, facts, **_others: found.update(facts))
    else:
        monkeypatch.setattr(labelled, "_fine_tune", lambda *arguments: found.update(arguments[4]))
    found: dict[str, Any] = {}
    labelled.run(run.ctx, run.begin(PhaseName.SOLVER), INPUTS)
    assert (found["examples"], found["dropped"]["overlong"]) == (1, 1)
    (tmp_path / "data.jsonl").write_text(json.dumps(long) + "\n")
    other = training_runs("b", *settings)
    with pytest.raises(UserError, match=r"has 0 examples \(dropped: overlong 1, the first on line 1\)"):
        labelled.run(other.ctx, other.begin(PhaseName.SOLVER), INPUTS)
