"""What people see of a grid at work: bars on a terminal, lines anywhere."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from rzero_mega.grid.cell import Cell
from rzero_mega.grid.pace import Pace, total
from rzero_mega.terminal import in_one_line, new_console
from rzero_mega.tracking.summaries import duration

LOOK_S = 2.0
# How often a cell at work has a line of its own where there are no bars.
LINE_S = 60.0


class GridProgress:
    """Progress of a grid; use it as a context manager.

    On a terminal there is a bar for the grid and one for each cell at work. A line is printed when a cell begins and
    ends; where there is no terminal also when one has come to another phase, at most once in LINE_S seconds a cell.
    """

    def __init__(self, title: str, cells: Sequence[Cell], at_once: int, console: Console | None = None) -> None:
        """`cells` are all that this command is to see finished."""
        self._console = console or new_console()
        words = TextColumn("{task.fields[words]}", style="dim", markup=False)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        self._bars = Progress(
            *columns, TimeElapsedColumn(), words, console=self._console, disable=not self._console.is_terminal
        )
        self._all, self._at_once, self._pace = list(cells), at_once, Pace()
        self._task = self._bars.add_task(in_one_line(title), total=len(cells), words="")
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[float, str]] = {}
        self._looked = -LOOK_S

    def __enter__(self) -> GridProgress:
        """Draw the bars, and look at what is there."""
        self._bars.start()
        for cell in self._all:
            self._pace.look(cell)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self._bars.stop()

    def say(self, cell: Cell, words: str) -> None:
        """A line about a cell."""
        number = self._all.index(cell) + 1
        line = in_one_line(f"[{number}/{len(self._all)}] {cell.name} · {words}")
        self._console.print(line, soft_wrap=True)
        if cell.name in self._tasks:
            self._bars.remove_task(self._tasks.pop(cell.name))

    def started(self, cell: Cell, goes_on: bool) -> None:
        """The cell is at work."""
        self._pace.look(cell)
        self.say(cell, f"{'goes on' if goes_on else 'begins'}{self._left(cell)}; log: {cell.log}")
        self._tasks[cell.name] = self._bars.add_task(cell.name, total=len(cell.plan()), words="")
        self._said[cell.name] = (time.monotonic(), "")

    def finished(self, cell: Cell) -> None:
        """The cell is done."""
        self._pace.look(cell)
        self.say(cell, f"finished in {duration(self._pace.spent(cell))}")

    def update(self, at_work: Sequence[Cell], waiting: Sequence[Cell]) -> None:
        """Show how far cells and grid are, now and then."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        for cell in at_work:
            self._show(cell, now)
        lefts = [
            *(self._pace.left(cell, True) for cell in at_work),
            *(self._pace.left(cell, False) for cell in waiting),
        ]
        left = total(lefts, self._at_once)
        done = len(self._all) - len(at_work) - len(waiting)
        words = f"about {duration(left)} left" if left is not None and lefts else ""
        self._bars.update(self._task, completed=done, words=words)

    def _show(self, cell: Cell, now: float) -> None:
        self._pace.look(cell)
        unfinished = cell.unfinished()
        if not unfinished:
            return
        phase = f"iteration {unfinished[0].iteration} of {cell.config.iterations} · {unfinished[0].name}"
        done = len(cell.plan()) - len(unfinished)
        words = f"{phase}{self._left(cell)}"
        if cell.name in self._tasks:
            self._bars.update(self._tasks[cell.name], completed=done, words=words)
        then, before = self._said.get(cell.name, (now, ""))
        if not self._console.is_terminal and phase != before and now - then >= LINE_S:
            self.say(cell, f"{words}, {duration(self._pace.spent(cell))} so far")
            self._said[cell.name] = (now, phase)

    def _left(self, cell: Cell) -> str:
        left = self._pace.left(cell, True)
        return "" if left is None else f", about {duration(left)} left"
