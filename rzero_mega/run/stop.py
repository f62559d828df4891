"""Being asked to stop in time: a scheduler signals before the wall time, and the work is saved before it ends."""

from __future__ import annotations

import signal
from types import FrameType

SIGNAL = signal.SIGUSR1
# EX_TEMPFAIL of sysexits.h: nothing is wrong, and the same command goes on from here.
EXIT_CODE = 75


class Stopped(Exception):
    """The work was saved because somebody asked; the same command goes on with it."""


class StopRequest:
    """Whether this process was sent SIGUSR1. Whoever works asks between two steps, saves, and raises `Stopped`."""

    def __init__(self) -> None:
        """Not asked."""
        self.requested = False

    def listen(self) -> None:
        """From now on SIGUSR1 is such a request; without this it would end the process."""
        signal.signal(SIGNAL, self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
