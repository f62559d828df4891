"""Cells at work: each is `rzero-mega run` in a process of its own, whose output goes to the cell's log."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass

from rzero_mega.atomic import storage_errors
from rzero_mega.grid.cell import Cell
from rzero_mega.lifetime import environment_of_child, module_command
from rzero_mega.own_file import append_to

# A run has ranks, servers and W&B to close.
GRACE_S = 120.0
_TAIL_BYTES = 4096


@dataclass(frozen=True)
class Child:
    """A cell at work. `log_from` is where in its log this attempt begins."""

    cell: Cell
    process: subprocess.Popen[bytes]
    log_from: int

    def last_line(self) -> str:
        """The last thing it said, without the command's name before it."""
        with self.cell.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self.log_from, size - _TAIL_BYTES))
            lines = [line for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].strip().removeprefix("rzero-mega: ") if lines else ""


class Children:
    """The cells at work. Leaving its `with` block ends them; should this process be killed, they are too."""

    def __init__(self) -> None:
        """None so far."""
        self._children: list[Child] = []

    def __len__(self) -> int:
        """How many are at work."""
        return len(self._children)

    def cells(self) -> list[Cell]:
        """The cells, in the order of their start."""
        return [child.cell for child in self._children]

    def start(self, cell: Cell) -> Child:
        """Start the cell's run, or go on with it. To be called from the main thread, with which children die."""
        with storage_errors(cell.log):
            cell.log.parent.mkdir(parents=True, exist_ok=True)
            with append_to(cell.log) as log:
                process = subprocess.Popen(
                    module_command("rzero_mega", "run", *cell.arguments),
                    env=environment_of_child(os.environ),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
                child = Child(cell, process, log.tell())
        self._children.append(child)
        return child

    def ended(self) -> list[Child]:
        """Those that have ended since the last call."""
        ended = [child for child in self._children if child.process.poll() is not None]
        self._children = [child for child in self._children if child not in ended]
        return ended

    def signal(self, number: int) -> None:
        """Send a signal to all."""
        for child in self._children:
            child.process.send_signal(number)

    def __enter__(self) -> Children:
        """Use them in a `with` statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Interrupt all and wait; those that take longer than GRACE_S seconds are killed."""
        self.signal(signal.SIGTERM)
        for child in self._children:
            try:
                child.process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
