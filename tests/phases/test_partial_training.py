"""The Solver's phase with answers that go on under newer weights: real weights, an engine that stops when it may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rzero_mega.coevolution.plan import BASE, SolverInputs, Source
from rzero_mega.coevolution.records import TrainingQuestion
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import solver
from rzero_mega.phases.context import ActivePhase
from rzero_mega.rollout.protocol import FinishReason, Request, RolloutEngine, Sample, Whole
from rzero_mega.run.stop import Stopped
from tests.phases.scripted import Asked, ScriptedRun, rows

STEPS, LIMIT, CUT = 4, 8, 2
SETTINGS = (
    f"solver.training.steps={STEPS}",
    "solver.training.prompts_per_step=2",
    "solver.training.rollouts_per_prompt=4",
    "solver.training.grpo.sequences_per_update=8",
    f"solver.training.sampling.max_new_tokens={LIMIT}",
    "solver.over_provision=0.5",
    # Weights move in every step, whatever it earns.
    "solver.training.optimizer={learning_rate: 0.1, weight_decay: 1.0}",
    "learner.tokens_per_micro_batch=512",
    "learner.checkpoint.every=100",
)
QUESTIONS = [TrainingQuestion(f"{n}+{n}", str(2 * n)) for n in range(1, 9)]
TIMES = ("seconds", "tokens_per_second")


class Stopping:
    """Draws units in turn. When it is enough the others have CUT tokens more, unless they are over by then."""

    def __init__(self, engine: RolloutEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate_until(self, units: Sequence[Sequence[Request]], whole: Whole) -> list[list[Sample]]:
        found, going_on = [], True
        for number, unit in enumerate(units):
            limit = LIMIT if going_on else CUT
            samples = [self._drawn(request, limit) for request in unit]
            found.append([sample for part in samples for sample in part])
            going_on = going_on and whole(number)
        return found

    def _drawn(self, request: Request, limit: int) -> list[Sample]:
        shorter = min(limit, request.sampling.max_new_tokens)
        samples = self._engine.generate([replace(request, sampling=replace(request.sampling, max_new_tokens=shorter))])
        cut = shorter < request.sampling.max_new_tokens
        return [
            replace(sample, finish=FinishReason.ABORT) if cut and sample.finish is FinishReason.LENGTH else sample
            for sample in samples
        ]


@pytest.fixture
def runs(training_runs: Callable[..., ScriptedRun]) -> Callable[..., ScriptedRun]:
    return lambda name, *overrides: training_runs(name, *SETTINGS, *overrides)


def train(run: ScriptedRun) -> ActivePhase:
    run.engines.clear()
    run.engines["solver"] = Stopping(run.ctx.engine("solver", run.base))
    if run.directory.phase(1, PhaseName.LABELS).manifest() is None:
        run.leave(PhaseName.LABELS, "dataset", QUESTIONS)
    phase = run.begin(PhaseName.SOLVER)
    solver.run(run.ctx, phase, SolverInputs(BASE, Source(1, PhaseName.LABELS, "dataset")))
    return phase


def logged(phase: ActivePhase) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if not key.endswith(TIMES)} for row in rows(phase, "metrics")]


def weights(phase: ActivePhase) -> bytes:
    return (phase.directory.path / "model" / "model.safetensors").read_bytes()


def test_answers_that_go_on_are_stale_in_part_and_the_log_says_so(runs: Callable[..., ScriptedRun]) -> None:
    aborted = logged(train(runs("aborted")))
    assert all(row["staleness"] == 0.0 and row["logprob_difference"] < 1e-5 for row in aborted)
    assert any(row["aborted_token_share"] > 0 for row in aborted)
    partial = logged(train(runs("partial", "solver.partial_rollouts=2")))
    assert partial[0]["stale_token_share"] == 0.0 and partial[0]["logprob_difference"] < 1e-5
    stale = [row for row in partial if row["stale_token_share"] > 0]
    assert stale and all(0 < row["stale_token_share"] < 1 and 1 <= row["staleness"] <= 2 for row in stale)
    # Tokens of older weights are corrected by the log-probabilities that they were drawn with.
    assert min(row["logprob_difference"] for row in stale) > 1e-5
    assert all(abs(row["importance"] - 1) > 1e-6 for row in stale)
    assert all(row["aborted_token_share"] == 0.0 for row in partial)


@pytest.mark.parametrize("overrides", [(), ("solver.partial_rollouts=2",)], ids=["aborted", "partial"])
def test_a_phase_that_was_stopped_goes_on_to_the_same_rows_and_bytes(
    overrides: tuple[str, ...], runs: Callable[..., ScriptedRun]
) -> None:
    undisturbed = train(runs("a", *overrides))
    stopped = runs("b", *overrides)
    stopped.ctx.stop = Asked()
    with pytest.raises(Stopped):
        train(stopped)
    resumed = train(runs("b", *overrides))
    assert logged(resumed) == logged(undisturbed)
    assert weights(resumed) == weights(undisturbed)
