"""How long the rest of a grid may take, by what its phases have taken so far."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from statistics import fmean

from rzero_mega.errors import UserError
from rzero_mega.grid.cell import Cell
from rzero_mega.phase_name import PhaseName


class Pace:
    """Seconds of finished phases by arm and kind. Manifests are read once."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._seconds: dict[tuple[str, int, PhaseName], float] = {}
        self._arms: dict[str, str] = {}
        self._grew: dict[str, tuple[int, float]] = {}

    def look(self, cell: Cell) -> None:
        """Take up what the cell has finished since the last look."""
        self._arms[cell.name] = cell.arm
        with suppress(UserError):  # the run itself says what is damaged
            self._read(cell)
        finished = sum(name == cell.name for name, _, _ in self._seconds)
        if self._grew.get(cell.name, (-1, 0.0))[0] != finished:
            self._grew[cell.name] = (finished, time.monotonic())

    def _read(self, cell: Cell) -> None:
        run = cell.run()
        for plan in cell.plan() if run is not None else ():
            key = (cell.name, plan.iteration, plan.name)
            manifest = run.phase(plan.iteration, plan.name).manifest() if run and key not in self._seconds else None
            if manifest is not None:
                self._seconds[key] = manifest.seconds

    def spent(self, cell: Cell) -> float:
        """Seconds of the cell's finished phases."""
        return sum(seconds for (name, _, _), seconds in self._seconds.items() if name == cell.name)

    def left(self, cell: Cell, running: bool) -> float | None:
        """Seconds that the cell's unfinished phases may take; None while there is one whose kind nobody has finished.

        `running` says that its first unfinished phase is under way since the last one was seen to be finished.
        """
        phases = [plan for plan in cell.plan() if (cell.name, plan.iteration, plan.name) not in self._seconds]
        expected = [self._expected(cell.arm, plan.name) for plan in phases]
        if any(seconds is None for seconds in expected):
            return None
        known = [seconds for seconds in expected if seconds is not None]
        under_way = time.monotonic() - self._grew[cell.name][1] if running and known and cell.name in self._grew else 0
        return sum(known) - min(under_way, known[0] if known else 0)

    def _expected(self, arm: str, kind: PhaseName) -> float | None:
        alike = [(name, seconds) for (name, _, phase), seconds in self._seconds.items() if phase == kind]
        own = [seconds for name, seconds in alike if self._arms[name] == arm]
        return fmean(own or [seconds for _, seconds in alike]) if alike else None


def total(lefts: Iterable[float | None], at_once: int) -> float | None:
    """Seconds until all cells are done, so many at a time; None while one of them is not known."""
    known = list(lefts)
    if any(left is None for left in known):
        return None
    seconds = [left for left in known if left is not None]
    return max([*seconds, sum(seconds) / at_once], default=0.0)
