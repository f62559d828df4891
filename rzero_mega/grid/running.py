"""Running the cells of a grid, so many at a time, and telling how it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rzero_mega.errors import UserError
from rzero_mega.grid.cell import Cell, State
from rzero_mega.grid.children import Child, Children
from rzero_mega.grid.progress import GridProgress
from rzero_mega.run.lock import holder
from rzero_mega.run.stop import EXIT_CODE, SIGNAL, Stopped, StopRequest

POLL_S = 0.2


@dataclass
class Outcome:
    """What has become of the cells: of those that are not finished, why, by name.

    `failed` have their last line, `elsewhere` says who is at work on them, `missing` what they would start from.
    """

    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def run_cells(cells: Sequence[Cell], at_once: int, stop: StopRequest, progress: GridProgress) -> Outcome:
    """Run what is not finished, in order, `at_once` cells at a time; one that fails does not keep the others from it.

    A cell that another process is at work on is passed over, and looked at once more after the others. One that starts
    from another cell waits for that. Stopped is raised when a request to stop has been passed on, and all that were at
    work have saved and ended.
    """
    outcome, stopping = Outcome(), False
    waiting, again = list(cells), list[Cell]()
    with Children() as children:
        while True:
            if stop.take():
                children.signal(SIGNAL)
                stopping = True
            if stopping and not len(children):
                raise Stopped("stopped; the same command goes on from here")
            for cell in () if stopping else tuple(waiting):
                if len(children) < at_once and cell.is_ready():
                    waiting.remove(cell)
                    taken = cell.name in outcome.elsewhere
                    if not _starts(cell, children, progress, outcome) and cell.name in outcome.elsewhere and not taken:
                        again.append(cell)
            for child in children.ended():
                _take_end(child, progress, outcome)
            progress.update(children.cells(), [*waiting, *again])
            if not len(children) and not any(cell.is_ready() for cell in waiting):
                if not again:
                    break
                waiting, again = [*again, *waiting], []
            time.sleep(POLL_S)
    outcome.missing = {cell.name: cell.after.name for cell in waiting if cell.after is not None}
    return outcome


def _starts(cell: Cell, children: Children, progress: GridProgress, outcome: Outcome) -> bool:
    """Start the cell if there is something to do that nobody does."""
    outcome.elsewhere.pop(cell.name, None)
    state = cell.state()
    if state is State.RUNNING:
        _tell_elsewhere(cell, progress, outcome)
    if state in (State.RUNNING, State.FINISHED):
        return False
    children.start(cell)
    progress.started(cell, goes_on=state is State.STOPPED)
    return True


def _tell_elsewhere(cell: Cell, progress: GridProgress, outcome: Outcome) -> None:
    outcome.elsewhere[cell.name] = holder(cell.path / ".lock")
    progress.say(cell, f"is being run by {outcome.elsewhere[cell.name]}")


def _take_end(child: Child, progress: GridProgress, outcome: Outcome) -> None:
    cell, code = child.cell, child.process.returncode
    if code == 0 and not cell.unfinished():
        progress.finished(cell)
    elif code == EXIT_CODE:
        progress.say(cell, "stopped")
    elif cell.is_running():  # another command took it first
        _tell_elsewhere(cell, progress, outcome)
    else:
        outcome.failed[cell.name] = child.last_line() or f"ended with code {code} without a word"
        progress.say(cell, f"failed: {outcome.failed[cell.name]}")


def checked(cells: Sequence[Cell], check: Callable[[Cell], None]) -> None:
    """UserError for the first cell that cannot work, before anything starts."""
    for cell in cells:
        try:
            cell.check_values()
            check(cell)
        except UserError as error:
            raise UserError(f"{cell.name}: {error}") from None
