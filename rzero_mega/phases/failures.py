"""Updates that the learner's guard objects to: kept in the phase's folder for `rzero-mega replay`, then stop or skip.

failures/step_00007_update_1/
    failure.json        what, where and when
    config.yaml         the run's resolved configuration
    batch.safetensors   the update's sequences (learner/update_batch.py)
    model/              the weights before the update, in Hugging Face format
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rzero_mega import spmd
from rzero_mega.atomic import (
    aside_of,
    read_json,
    recover,
    removed_on_failure,
    replace_folder,
    storage_errors,
    write_json,
    write_text,
)
from rzero_mega.config import to_yaml
from rzero_mega.errors import UserError
from rzero_mega.learner.guard import FailedUpdate
from rzero_mega.learner.learner import Learner
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.phase_model import write_weights
from rzero_mega.run import PhaseDirectory

FORMAT = 1
FOLDER, DESCRIPTION, CONFIG, MODEL = "failures", "failure.json", "config.yaml", "model"


@dataclass(frozen=True)
class FailureRecord:
    """failure.json. `loss` and `gradient_norm` are what the run had; JSON holds them as text, for they may be NaN."""

    phase: PhaseName
    iteration: int
    step: int
    update: int
    fault: str
    origin: str
    loss: float
    gradient_norm: float

    def as_json(self) -> dict[str, Any]:
        """The content of the file."""
        numbers = {"loss": repr(self.loss), "gradient_norm": repr(self.gradient_norm)}
        return {"format": FORMAT, **vars(self), "phase": self.phase.value, **numbers}


def read_failure(folder: Path) -> FailureRecord:
    """Read and check failure.json; UserError names the file."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise UserError(f"{path}: missing; {folder} is not the folder of a failed update")
    data = read_json(path)
    try:
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r} is not {FORMAT}")
        return FailureRecord(
            phase=PhaseName(data["phase"]),
            iteration=int(data["iteration"]),
            step=int(data["step"]),
            update=int(data["update"]),
            fault=str(data["fault"]),
            origin=str(data["origin"]),
            loss=float(data["loss"]),
            gradient_norm=float(data["gradient_norm"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: malformed ({error!r}); it does not describe a failed update") from None


class FailurePolicy:
    """Decides about the failed updates of one phase. Every rank makes the same calls."""

    def __init__(self, ctx: RunContext, phase: ActivePhase, learner: Learner) -> None:
        """Skips of an earlier attempt count as far as the phase goes on from their steps."""
        self._ctx, self._learner, self._directory = ctx, learner, phase.directory
        self._guard = ctx.config.learner.guard
        self._skips = spmd.on_rank_0(_logged_skips, phase.directory)

    def at(self, step: int) -> Callable[[FailedUpdate], None]:
        """What `Learner.train_step` calls: returns to skip the update; UserError stops the run."""
        return partial(self._decide, step)

    def _decide(self, step: int, failed: FailedUpdate) -> None:
        folder = self._directory.path / FOLDER / f"step_{step:05d}_update_{failed.number}"
        self._keep(folder, step, failed)
        self._skips += 1
        skip = self._guard.non_finite == "skip" and self._skips <= self._guard.maximum_skips
        spmd.on_rank_0(self._report, folder, step, failed, skip)

    def _report(self, folder: Path, step: int, failed: FailedUpdate, skip: bool) -> None:
        self._ctx.run.event(
            "update_skipped" if skip else "update_failed",
            iteration=self._directory.iteration,
            phase=self._directory.phase.value,
            step=step,
            update=failed.number,
            fault=failed.check.fault,
            origin=failed.origin,
            folder=folder.relative_to(self._ctx.run.path).as_posix(),
        )
        if not skip:
            again = f"see it again with: rzero-mega replay {folder}"
            raise UserError(f"step {step}, {failed}; {again}; {self._way_on()}")

    def _way_on(self) -> str:
        if self._guard.non_finite == "skip":
            return f"that is more than learner.guard.maximum_skips {self._guard.maximum_skips} in this phase"
        return "learner.guard.non_finite=skip goes on without such updates"

    def _keep(self, folder: Path, step: int, failed: FailedUpdate) -> None:
        """Write the folder, whole or not at all. All ranks write the weights, rank 0 the rest."""
        aside = spmd.on_rank_0(self._begin, folder, step, failed)
        # Nobody writes any more when it is removed: each rank has said how it ended, or one has died, which ends all.
        with removed_on_failure(aside, by_me=spmd.rank() == 0):
            if self._guard.save_weights:
                write_weights(self._ctx, self._learner, aside / MODEL)
            spmd.on_rank_0(_complete, aside, folder)

    def _begin(self, folder: Path, step: int, failed: FailedUpdate) -> Path:
        """The folder under its temporary name, with everything but the weights."""
        recover(folder.parent)
        aside = aside_of(folder)
        with storage_errors(folder), removed_on_failure(aside):
            aside.mkdir(parents=True)
            write_json(aside / DESCRIPTION, self._record(step, failed).as_json())
            write_text(aside / CONFIG, to_yaml(self._ctx.config))
            failed.batch.write(aside)
        return aside

    def _record(self, step: int, failed: FailedUpdate) -> FailureRecord:
        found, directory = failed.check, self._directory
        return FailureRecord(
            directory.phase,
            directory.iteration,
            step,
            failed.number,
            str(found.fault),
            failed.origin,
            found.loss,
            found.gradient_norm,
        )


def _complete(aside: Path, folder: Path) -> None:
    with storage_errors(folder):
        replace_folder(aside, folder)


def _logged_skips(directory: PhaseDirectory) -> int:
    return sum(int(row.get("skipped_updates", 0)) for row in directory.metrics())
