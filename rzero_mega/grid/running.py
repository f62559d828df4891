"""Running the cells of a grid, so many at a time, and telling how it goes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rzero_mega.errors import UserError
from rzero_mega.grid.cell import Cell, State
from rzero_mega.grid.children import Child, Children
from rzero_mega.grid.progress import GridProgress
from rzero_mega.run.lock import holder
from rzero_mega.run.stop import EXIT_CODE, SIGNAL, Stopped, StopRequest

POLL_S = 0.1


@dataclass
class Outcome:
    """What has become of the cells: the failed ones with their last line, and those that others are at work on."""

    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)


def run_cells(cells: Sequence[Cell], at_once: int, stop: StopRequest, progress: GridProgress) -> Outcome:
    """Run what is not finished, in order, `at_once` cells at a time; one that fails does not keep the others from it.

    A cell that another process is at work on is passed over, and looked at once more after the others. Stopped is
    raised when a request to stop has been passed on, and all that were at work have saved and ended.
    """
    outcome, stopping = Outcome(), False
    waiting, again = deque(cells), deque[Cell]()
    with Children() as children:
        while waiting or again or len(children):
            if stop.take():
                children.signal(SIGNAL)
                stopping = True
            if stopping and not len(children):
                raise Stopped("stopped; the same command goes on from here")
            while not stopping and (waiting or again) and len(children) < at_once:
                if not waiting and len(children):
                    break  # by the time that these are done, those of others may be
                second = not waiting
                cell = (waiting or again).popleft()
                if not _starts(cell, children, progress, outcome) and not second and cell.is_running():
                    again.append(cell)
            for child in children.ended():
                _take_end(child, progress, outcome)
            progress.update(children.cells(), [*waiting, *again])
            time.sleep(POLL_S)
    return outcome


def _starts(cell: Cell, children: Children, progress: GridProgress, outcome: Outcome) -> bool:
    """Start the cell if there is something to do that nobody does."""
    outcome.elsewhere.pop(cell.name, None)
    state = cell.state()
    if state is State.RUNNING:
        outcome.elsewhere[cell.name] = holder(cell.path / ".lock")
        progress.say(cell, f"is being run by {outcome.elsewhere[cell.name]}")
    if state in (State.RUNNING, State.FINISHED):
        return False
    children.start(cell)
    progress.started(cell, goes_on=state is State.STOPPED)
    return True


def _take_end(child: Child, progress: GridProgress, outcome: Outcome) -> None:
    cell, code = child.cell, child.process.returncode
    if code == 0 and not cell.unfinished():
        progress.finished(cell)
    elif code == EXIT_CODE:
        progress.say(cell, "stopped")
    elif cell.is_running():  # another command took it first
        outcome.elsewhere[cell.name] = holder(cell.path / ".lock")
        progress.say(cell, f"is being run by {outcome.elsewhere[cell.name]}")
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
