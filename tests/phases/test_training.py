"""The GRPO loop on the nano base: what stops it, what it leaves, and that it goes on to the same rows and bytes."""

from __future__ import annotations

import gc
import gzip
import json
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rzero_mega.coevolution.plan import BASE, Source
from rzero_mega.config.schema import AverageConfig
from rzero_mega.errors import UserError
from rzero_mega.learner.learner import Learner
from rzero_mega.learner.megatron.offload import Offloader
from rzero_mega.learner.update_batch import read_batch
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import training
from rzero_mega.phases.context import ActivePhase
from rzero_mega.phases.failures import read_failure
from rzero_mega.phases.prefetcher import Rollouts
from rzero_mega.phases.start import Start
from rzero_mega.phases.training import train_policy
from rzero_mega.rollout.protocol import Request, RolloutEngine, Sample, Scored
from rzero_mega.run.stop import Stopped
from rzero_mega.run.timeline import STEPS as STEPS_TRACK
from rzero_mega.run.timeline import Timeline, read_timeline
from tests.phases.scripted import Asked, ScriptedRun, rows, steps_shown, summary

STEPS = 3
SIZES = (
    f"solver.training.steps={STEPS}",
    "solver.training.prompts_per_step=2",
    "solver.training.rollouts_per_prompt=4",
    "solver.training.grpo.sequences_per_update=4",
    "solver.training.sampling.max_new_tokens=16",
    "learner.tokens_per_micro_batch=512",
    "learner.checkpoint.every=100",
)
FROM_BASE, S_1 = Start(BASE), Source(1, PhaseName.SOLVER, "model")
TIMES = ("seconds", "tokens_per_second")


@pytest.fixture
def runs(training_runs: Callable[..., ScriptedRun]) -> Callable[..., ScriptedRun]:
    return lambda name, *overrides: training_runs(name, *SIZES, *overrides)


def train(
    run: ScriptedRun,
    longest_prompt: int = 16,
    start: Start = FROM_BASE,
    iteration: int = 1,
    scale: float | None = None,
) -> ActivePhase:
    """Train on prompts and rewards that depend on the step and the samples alone."""
    phase, training = run.begin(PhaseName.SOLVER, iteration), run.ctx.config.solver.training

    def roll_out(step: int, engine: RolloutEngine) -> Rollouts:
        prompts = [run.ctx.solver_prompt(f"{step}7*8+{i}94*6") for i in range(training.prompts_per_step)]
        requests = [
            Request(phase.seed_key(step, i), prompt, training.rollouts_per_prompt, training.sampling)
            for i, prompt in enumerate(prompts)
        ]
        samples = engine.generate(requests)
        scales = None if scale is None else [scale] * len(samples)
        return Rollouts(samples, [reward(sample) for sample in samples], {"mine": float(step)}, scales)

    train_policy(run.ctx, phase, "solver", start, training, longest_prompt, roll_out)
    return phase


def test_a_phase_leaves_nothing_of_its_learner_in_memory_for_the_next(
    runs: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[weakref.ref[torch.Tensor]] = []

    class Watched(Learner):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            left.extend(map(weakref.ref, self._model.parameters.values()))

    monkeypatch.setattr(training, "Learner", Watched)
    train(runs("forgotten", "learner.checkpoint.every=1"))
    gc.collect()  # as the runner does between phases
    assert left and not [reference for reference in left if reference() is not None]


class Apart:
    """A server pool whose servers start, and take none of the learner's memory, or share it."""

    def __init__(self, apart: bool, calls: list[str]) -> None:
        self.apart, self._calls = apart, calls

    def rest(self) -> None:
        self._calls.append("rest")

    def engine(self, role: str, model: Path, wait: bool) -> Any:
        self._calls.append(f"{role}'s servers" + (" are ready" if wait else " start"))
        return SimpleNamespace(receivers=(), prepare=lambda: self._calls.append("waited for"))


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        (True, ["rest", "solver's servers start", "learner", "waited for", "the first step"]),
        (False, ["rest", "learner", "solver's servers are ready", "rest", "the first step"]),
    ],
)
def test_servers_apart_start_while_the_learner_does_others_after_it_and_all_are_ready_before_the_first_step(
    apart: bool, expected: list[str], runs: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    class Starting:
        def __init__(self, *_: Any) -> None:
            calls.append("learner")

        offloaded = staticmethod(nullcontext)

        def weights(self, *_: Any) -> None:
            calls.append("the first step")
            raise Stopped("seen enough")

    run = runs("beside")
    monkeypatch.setattr(run.ctx, "server_pool", Apart(apart, calls))
    monkeypatch.setattr(training, "Learner", Starting)
    with pytest.raises(Stopped):
        train(run)
    assert calls == expected


def reward(sample: Sample) -> float:
    return sum(token % 2 for token in sample.tokens) / len(sample.tokens)


def without_times(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not name.endswith(TIMES)} for row in rows]


def tensors(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "model.safetensors")


def weights(phase: ActivePhase) -> bytes:
    return (phase.directory.path / "model" / "model.safetensors").read_bytes()


def logged(run: ScriptedRun) -> list[dict[str, Any]]:
    return run.directory.phase(1, PhaseName.SOLVER).metrics()


def test_a_row_per_step_and_their_means(runs: Callable[..., ScriptedRun]) -> None:
    run = runs("a")
    phase = train(run)
    steps = logged(run)
    assert [row["step"] for row in steps] == [1, 2, 3] and [row["mine"] for row in steps] == [1.0, 2.0, 3.0]
    assert all(row["updates"] == 2.0 and row["staleness"] == 0.0 for row in steps)
    assert all(0 < row["reward_mean"] < 1 and row["probe_difference"] < 1e-4 for row in steps)
    assert summary(phase)["mine"] == 2.0
    assert summary(phase)["reward_mean"] == pytest.approx(sum(row["reward_mean"] for row in steps) / 3)
    assert steps_shown(phase) == [0, 1, 2, 3]
    assert weights(phase) != (run.base / "model.safetensors").read_bytes()


def test_a_phase_that_was_stopped_goes_on_to_the_same_rows_and_bytes(runs: Callable[..., ScriptedRun]) -> None:
    undisturbed = train(runs("a"))
    stopped = runs("b")
    stopped.ctx.stop = Asked()
    with pytest.raises(Stopped):
        train(stopped)
    assert [row["step"] for row in logged(stopped)] == [1]
    resumed = train(runs("b"))
    assert steps_shown(resumed) == [1, 2, 3]
    assert without_times(rows(resumed, "metrics")) == without_times(rows(undisturbed, "metrics"))
    assert weights(resumed) == weights(undisturbed)


def test_the_kl_to_the_base_is_logged_where_the_loss_has_it(runs: Callable[..., ScriptedRun]) -> None:
    without = rows(train(runs("a")), "metrics")
    assert all("kl_base" not in row for row in without)
    run = runs("b", "solver.training.grpo.kl_base_coefficient=0.1")
    compared = rows(train(run, start=Start(BASE, BASE)), "metrics")
    # The base is the model that the phase starts from: both terms measure the same.
    assert all(row["kl_base"] == row["kl"] for row in compared) and compared[-1]["kl_base"] > 0


def test_what_is_handed_on_is_averaged_and_what_is_trained_is_not(runs: Callable[..., ScriptedRun]) -> None:
    plain = train(runs("a"))
    averaged = train(run := runs("b", "solver.training.average={share: 0.25, anchor: start}"))
    ends, handed_on = (tensors(phase.directory.path / "model") for phase in (plain, averaged))
    start = tensors(run.base)
    assert handed_on.keys() == start.keys()
    for name, tensor in handed_on.items():
        torch.testing.assert_close(tensor, 0.75 * ends[name] + 0.25 * start[name], rtol=1e-6, atol=1e-8)
    assert without_times(rows(averaged, "metrics")) == without_times(rows(plain, "metrics"))
    assert any(not tensor.equal(ends[name]) for name, tensor in handed_on.items())


def test_an_average_with_the_base_is_not_one_with_the_start(runs: Callable[..., ScriptedRun]) -> None:
    """S_1 is the same in all three runs; what iteration 2 makes of it is averaged in two ways, or not."""
    found = {}
    for share, anchor in ((0.0, "base"), (0.5, "base"), (0.5, "start")):
        run = runs(f"{share} {anchor}")
        first = tensors(train(run).directory.path / "model")
        run.ctx.config.solver.training.average = AverageConfig(share, anchor)
        second = train(run, start=Start(S_1, BASE), iteration=2)
        found[share, anchor] = tensors(second.directory.path / "model")
    for name, base in tensors(run.base).items():
        end, with_base, with_start = (tensors_of_run[name] for tensors_of_run in found.values())
        torch.testing.assert_close(with_base, (end + base) / 2, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(with_start, (end + first[name]) / 2, rtol=1e-6, atol=1e-8)
    assert not found[0.5, "base"]["model.norm.weight"].equal(found[0.5, "start"]["model.norm.weight"])


def test_a_phase_that_was_stopped_hands_on_the_same_average(runs: Callable[..., ScriptedRun]) -> None:
    average = "solver.training.average.share=0.5"
    undisturbed = weights(train(runs("a", average)))
    stopped = runs("b", average)
    stopped.ctx.stop = Asked()
    with pytest.raises(Stopped):
        train(stopped)
    assert weights(train(runs("b", average))) == undisturbed


def test_later_iterations_learn_at_a_lower_rate(runs: Callable[..., ScriptedRun]) -> None:
    rate = "solver.training.optimizer={learning_rate: 1e-4, decay_per_iteration: 0.5}"
    at_a_quarter = weights(train(runs("a", "solver.training.optimizer.learning_rate=2.5e-5"), iteration=3))
    third = train(run := runs("b", rate), iteration=3)
    assert [row["learning_rate"] for row in rows(third, "metrics")] == [2.5e-5] * STEPS
    assert weights(third) == at_a_quarter
    first = train(run, iteration=1)
    assert summary(first)["learning_rate"] == pytest.approx(1e-4)


class OtherWeights:
    """An engine whose scores are not those of the learner's weights."""

    def __init__(self, engine: RolloutEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def score(self, sequences: Sequence[Scored]) -> list[tuple[float, ...]]:
        return [tuple(value - 0.5 for value in values) for values in self._engine.score(sequences)]


def test_an_engine_with_other_weights_stops_the_run(runs: Callable[..., ScriptedRun]) -> None:
    run = runs("a")
    run.engines["solver"] = OtherWeights(run.ctx.engine("solver", run.base))
    with pytest.raises(UserError, match=r"differ"):
        train(run)
    directory = run.directory.phase(1, PhaseName.SOLVER)
    assert directory.metrics() == [] and directory.manifest() is None and not (directory.path / "model").exists()


def test_an_engine_that_has_other_weights_from_the_start_stops_the_run_before_the_first_update(
    runs: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs("a", "weights.verify.probe_every=2")
    run.engines["solver"] = OtherWeights(run.ctx.engine("solver", run.base))
    monkeypatch.setattr(Learner, "train_step", lambda *_: pytest.fail("an update before the two agreed"))
    with pytest.raises(UserError, match=r"version 0 differ"):
        train(run)


class Turns:
    """When the learner is parked and back, and what the engine does meanwhile."""

    def __init__(self, engine: RolloutEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self._engine = engine
        self.log: list[str] = []
        for name in ("offload", "reload"):
            monkeypatch.setattr(Offloader, name, self._noting(name, getattr(Offloader, name)))
        monkeypatch.setattr(Learner, "train_step", self._noting("train", Learner.train_step))

    def _noting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*arguments: Any, **options: Any) -> Any:
            self.log.append(name)
            return call(*arguments, **options)

        return noting

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        return self._noting(name, found) if name in ("generate", "score", "update_weights") else found


@pytest.mark.parametrize("ahead", [0, 1])
def test_the_learner_is_parked_once_a_step_also_for_the_probe(
    ahead: int, runs: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs("a", f"solver.training.ahead={ahead}", "learner.offload=all", "weights.verify.probe_every=1")
    run.engines["solver"] = turns = Turns(run.ctx.engine("solver", run.base), monkeypatch)
    train(run)
    start = ["offload", "reload"]
    drawn = [2, 1, 0] if ahead else [1, 1, 1]
    expected = [["offload", *["generate"] * count, "score", "reload", "train", "update_weights"] for count in drawn]
    # Nobody draws with the weights of the last step.
    assert turns.log == [*start, *(name for names in expected for name in names)][:-1]


def test_the_probe_changes_nothing(runs: Callable[..., ScriptedRun]) -> None:
    with_probes, without = (train(runs(name, f"weights.verify.probe_every={n}")) for name, n in (("a", 1), ("b", 0)))
    assert weights(with_probes) == weights(without)


def test_advantages_are_scaled_and_by_nothing_there_is_nothing_to_learn(runs: Callable[..., ScriptedRun]) -> None:
    sizes = (
        "solver.training.steps=1",
        "solver.training.grpo.kl_coefficient=0",
        "solver.training.optimizer.weight_decay=0",
    )
    plain, whole, half, none = (train(runs(f"{scale}", *sizes), scale=scale) for scale in (None, 1.0, 0.5, 0.0))
    assert weights(plain) == weights(whole)
    untrained = train(runs("untrained", *sizes, "solver.training.steps=0"))
    assert weights(none) == weights(untrained) != weights(half)


def test_without_steps_the_model_is_the_one_it_started_from(runs: Callable[..., ScriptedRun]) -> None:
    run = runs("a", "solver.training.steps=0")
    phase = train(run)
    before, after = (tensors(path) for path in (run.base, phase.directory.path / "model"))
    assert before.keys() == after.keys() and all(before[name].equal(after[name]) for name in before)
    assert summary(phase) == {}


def test_the_model_may_be_that_of_an_earlier_step(runs: Callable[..., ScriptedRun]) -> None:
    first = weights(train(runs("a", "solver.training.steps=1")))
    chosen = train(runs("b", "solver.training.use_step=1"))
    assert weights(chosen) == first and len(rows(chosen, "metrics")) == STEPS


def test_a_prompt_that_may_not_fit_is_refused_before_anything_is_loaded(runs: Callable[..., ScriptedRun]) -> None:
    run = runs("a")
    with pytest.raises(UserError, match=r"tokens_per_micro_batch: 512 .* prompt of 497 and 16 of solver\.training"):
        train(run, longest_prompt=497)


def test_an_update_that_the_guard_objects_to_is_kept_and_stops_the_run(runs: Callable[..., ScriptedRun]) -> None:
    run = runs("a", "learner.guard={maximum_gradient_norm: 1e-12, save_weights: false}")
    with pytest.raises(UserError, match=r"step 1, .*rzero-mega replay .*step_00001_update_1"):
        train(run)
    folder = run.directory.phase(1, PhaseName.SOLVER).path / "failures" / "step_00001_update_1"
    failure = read_failure(folder)
    assert (failure.phase, failure.iteration, failure.step, failure.update) == (PhaseName.SOLVER, 1, 1, 1)
    assert len(read_batch(folder, vocabulary=104).sequences) == 4 and not (folder / "model").exists()


def test_skipped_updates_are_counted_until_there_are_too_many(runs: Callable[..., ScriptedRun]) -> None:
    guard = "learner.guard={maximum_gradient_norm: 1e-12, save_weights: false, non_finite: skip, maximum_skips: 3}"
    run = runs("a", guard)
    with pytest.raises(UserError, match=r"step 2, .*maximum_skips 3"):
        train(run)
    (row,) = logged(run)
    assert row["skipped_updates"] == 2 and row["updates"] == 0.0


def test_chosen_steps_leave_a_profile_and_the_timeline_has_every_step(runs: Callable[..., ScriptedRun]) -> None:
    run = runs("profiled", "learner.profile=[2]")
    path = run.folder / "timeline.jsonl"
    run.ctx.stopwatch.timeline = Timeline(path)
    phase = train(run)
    [profile] = (phase.directory.path / "profile").iterdir()
    assert profile.name == "step_00002-rank-0000.json.gz"
    with gzip.open(profile, "rt") as file:
        names = {event["name"] for event in json.load(file)["traceEvents"] if "name" in event}
    assert any("mm" in name for name in names) and any("Optimizer.step" in name for name in names)
    spans = [(span.track, span.name) for span in read_timeline(path)]
    assert [name for track, name in spans if track == STEPS_TRACK] == ["step 1", "step 2", "step 3"]
    on_main = [name for track, name in spans if track == "main" and name in ("train", "update", "checkpoint")]
    # After the last step no engine draws from the weights.
    assert on_main == ["train", "update", "checkpoint"] * (STEPS - 1) + ["train", "checkpoint"]


def test_how_often_there_are_checkpoints_changes_nothing_that_is_trained(runs: Callable[..., ScriptedRun]) -> None:
    begun, models, logs = [], [], []
    for name, share in (("rare", 0.0), ("each", 1.0)):
        run = runs(name, f"learner.checkpoint={{every: null, share: {share}, asynchronous: false}}")
        run.ctx.stopwatch.timeline = Timeline(run.folder / "timeline.jsonl")
        models.append(weights(train(run)))
        logs.append(logged(run))
        spans = read_timeline(run.folder / "timeline.jsonl")
        begun.append([span.counts["begun"] for span in spans if span.name == "checkpoint"])
    assert begun == [[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
    assert models[0] == models[1] and without_times(logs[0]) == without_times(logs[1])
    # What training waited for after a step stands in the next one's row.
    assert ["checkpoint_seconds" in row for row in logs[1]] == [False, True, True]
    assert all(row["checkpoint_seconds"] > 0 for row in logs[1][1:])
