"""A cell of a grid: one arm under one seed, which is one ordinary run; how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rzero_mega.coevolution.plan import PhasePlan, iteration_plan
from rzero_mega.config import Config
from rzero_mega.config.kinds import kinds
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory, run_path
from rzero_mega.run.lock import is_locked
from rzero_mega.run.phase import ITERATIONS, MANIFEST
from rzero_mega.tracking.values import key_histories


class State(StrEnum):
    """How far a cell is; a failed one is one that failed in this command."""

    FINISHED = "finished"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    PENDING = "not begun"


@dataclass(frozen=True)
class Cell:
    """One run of a grid. `arguments` are those of `rzero-mega run`, whose configuration `config` is.

    It starts from the last Solver of `after`, the cell of another arm under the same seed, where that is given.
    """

    arm: str
    seed: int
    arguments: tuple[str, ...]
    config: Config
    after: Cell | None = None

    @property
    def name(self) -> str:
        """The name of its run, for instance no_filter-seed3."""
        return f"{self.arm}-seed{self.seed}"

    @property
    def path(self) -> Path:
        """The folder of its run."""
        return run_path(self.config)

    @property
    def log(self) -> Path:
        """What its command prints, run by a grid, attempt after attempt; beside the runs."""
        return self.path.parent / "logs" / f"{self.name}.log"

    def run(self) -> RunDirectory | None:
        """Its run, open for reading; None before it begins."""
        return RunDirectory.open_existing(self.path) if (self.path / "run.json").is_file() else None

    def plan(self) -> list[PhasePlan]:
        """The phases that it has, in order."""
        return iteration_plan(self.config)

    @property
    def last_solver(self) -> Path:
        """Where its run leaves the Solver of its last iteration."""
        return self._folder(self.config.iterations, PhaseName.SOLVER) / "model"

    def is_ready(self) -> bool:
        """Whether what it starts from is there."""
        return self.after is None or not self.after.unfinished()

    def is_running(self) -> bool:
        """Whether some process is writing the run."""
        return is_locked(self.path / ".lock")

    def state(self) -> State:
        """How far it is, by what lies there."""
        if not self.unfinished():
            return State.FINISHED
        if self.is_running():
            return State.RUNNING
        return State.STOPPED if (self.path / "run.json").is_file() else State.PENDING

    def unfinished(self) -> list[PhasePlan]:
        """The phases that are left, in order."""
        return [plan for plan in self.plan() if not (self._folder(plan.iteration, plan.name) / MANIFEST).is_file()]

    def _folder(self, iteration: int, phase: PhaseName) -> Path:
        return self.path / ITERATIONS / str(iteration) / phase

    def check_values(self) -> None:
        """UserError if phases that have begun did so under other values than the cell has now.

        A run may go on under other values for what is left of it. A cell may not: its arm would name two things.
        """
        run = self.run()
        histories = key_histories(run, self.config) if run is not None else []
        other = next((history for history in histories if not kinds()[history.key].last_bits), None)
        if other is not None:
            raise UserError(f"{self.path}: {other}; give the arm another name, set it back, or remove the folder")
