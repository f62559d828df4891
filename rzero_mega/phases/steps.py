"""The steps of a training phase, whatever they train on: resumed, logged, saved, stopped between two of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from rzero_mega import spmd
from rzero_mega.activity import BEGUN, Activity
from rzero_mega.config.schema import TrainingConfig
from rzero_mega.learner.batch import TrainingSequence
from rzero_mega.learner.guard import FailedUpdate
from rzero_mega.learner.learner import Learner, StepMetrics
from rzero_mega.learner.profiling import PROFILES, step_profile
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases.checkpoints import Checkpoints
from rzero_mega.phases.context import ActivePhase, Role, RunContext
from rzero_mega.phases.failures import FailurePolicy
from rzero_mega.phases.phase_model import MODEL, PhaseModel
from rzero_mega.phases.start import StartFolders
from rzero_mega.run import PhaseDirectory
from rzero_mega.run.checksums import FileHash
from rzero_mega.run.timeline import STEPS

Row = dict[str, float]
OnFailure = Callable[[FailedUpdate], None]


class Steps:
    """What a step does besides what all phases do in one. Every rank makes the same calls."""

    shown: ClassVar[Mapping[str, str]] = {}
    """What the progress bar shows: a word for a key of the row."""

    def take(self, step: int, on_failure: OnFailure) -> Row:
        """Do a step, counted from 1; its row of metrics, with the `tokens` that were trained on."""
        raise NotImplementedError

    def resume(self, done: int, checkpoint: Path) -> None:
        """Go on after `done` steps: the learner has loaded the checkpoint, in which `save` has left files."""

    def save(self, checkpoint: Path) -> None:
        """Add files to a checkpoint. Rank 0 alone calls it."""

    def close(self) -> None:
        """There will be no further step."""


def run_steps(
    ctx: RunContext,
    phase: ActivePhase,
    learner: Learner,
    training: TrainingConfig,
    steps: Steps,
    start: StartFolders,
    facts: Mapping[str, Any],
    then: Callable[[Path], Mapping[str, Any]] | None = None,
) -> None:
    """Do the phase's steps and leave the model as output `model`; `facts` go into the phase's summary.

    So does what `then` finds out of the model's folder, when the learner is gone.

    The model is the learner's, or what `training.average` makes of it and of `start`. Goes on from the last checkpoint;
    the steps after it are done again and come out the same. The learner is closed afterwards.
    """
    done, trained = _resume(phase.directory, learner, steps), _role(phase)
    ctx.servers_figures(trained)  # those of the phase's start are no step's
    checkpoints = Checkpoints(phase.directory, learner, ctx.config.learner.checkpoint, steps.save)
    failures = FailurePolicy(ctx, phase, learner)
    optimizer = training.optimizer.in_iteration(phase.directory.iteration)
    model = PhaseModel(ctx, phase.directory, learner, training.average, start)
    profiled = partial(step_profile, ctx.config.learner.profile, phase.directory.path / PROFILES, spmd.rank())
    timeline = ctx.stopwatch.timeline
    phase.bar.advance(done)
    for step in range(done + 1, training.steps + 1):
        began = time.perf_counter()
        with timeline.measure(f"step {step}", track=STEPS), profiled(step):
            row = steps.take(step, failures.at(step))
        if step == training.used_step:
            model.write()
        costs = {**ctx.stopwatch.take(), **ctx.servers_figures(trained), "step_seconds": time.perf_counter() - began}
        row["tokens_per_second"] = row.pop("tokens") / max(1e-9, costs["step_seconds"])
        row |= {what: round(value, 4) for what, value in costs.items()}
        row["learning_rate"] = optimizer.learning_rate
        _log(ctx, phase.directory, step, row)
        # In metrics these seconds are the next step's: a checkpoint goes with all rows up to its own.
        with ctx.stopwatch.measure(Activity.CHECKPOINT.seconds) as counts:
            counts[BEGUN] = float(checkpoints.after_step(step, last=training.steps))
        phase.bar.advance(step, **{word: row[key] for word, key in steps.shown.items()})
        if step < training.steps:
            ctx.stop_if_asked(checkpoints.save_now, step)
    if done == training.steps and training.use_step is None:
        model.write()
    steps.close()
    with timeline.measure(Activity.FINISH_CHECKPOINT):
        checkpoints.finish()
    learner.close()
    found = then(phase.directory.path / MODEL) if then is not None else {}
    spmd.on_rank_0(_finish, phase.directory, {**facts, **found}, model.files())


def train_step(
    ctx: RunContext, learner: Learner, sequences: Sequence[TrainingSequence], on_failure: OnFailure
) -> tuple[StepMetrics, Row]:
    """The learner's step on these, timed; what it says, and `mfu` where the GPUs' peak is known."""
    began = time.perf_counter()
    with ctx.stopwatch.measure(Activity.TRAIN.seconds):
        metrics = learner.train_step(sequences, on_failure)
    used = learner.utilisation(sequences, time.perf_counter() - began)
    return metrics, {} if used is None else {"mfu": used}


def _role(phase: ActivePhase) -> Role:
    """Whom the phase trains."""
    return "challenger" if phase.directory.phase is PhaseName.CHALLENGER else "solver"


def _resume(directory: PhaseDirectory, learner: Learner, steps: Steps) -> int:
    """Go on from the last checkpoint, if there is one; the number of steps that are done."""
    checkpoint = spmd.on_rank_0(directory.latest_checkpoint)
    done = 0
    if checkpoint is not None:
        done = learner.load(checkpoint[1])
        steps.resume(done, checkpoint[1])
    spmd.on_rank_0(directory.truncate_metrics, done)
    return done


def _log(ctx: RunContext, directory: PhaseDirectory, step: int, row: Mapping[str, float]) -> None:
    spmd.on_rank_0(directory.log_step, step, row)
    if ctx.wandb is not None:
        ctx.wandb.sync()


def _finish(directory: PhaseDirectory, facts: Mapping[str, Any], model: Mapping[str, FileHash]) -> None:
    """The summary has the mean over the steps of everything that the last one logged."""
    rows = directory.metrics()
    names = [name for name in (rows[-1] if rows else {}) if name != "step"]
    means = {name: fmean(row[name] for row in rows if name in row) for name in names}
    directory.finish({MODEL: Path(MODEL)}, {**means, **facts}, {MODEL: model})
