"""Being asked to stop in time: a scheduler signals before the wall time, and the work is saved before it ends."""

from __future__ import annotations

import signal

SIGNAL = signal.SIGUSR1
# EX_TEMPFAIL of sysexits.h: nothing is wrong, and the same command goes on from here.
EXIT_CODE = 75


class Stopped(Exception):
    """The work was saved because somebody asked; the same command goes on with it."""


def hold_requests() -> None:
    """Keep SIGUSR1 back until somebody looks, here and in everything that is started from here.

    A scheduler signals every process of a job: graders, servers and W&B know nothing of it, and would end. To be called
    before there are threads.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL})


class StopRequest:
    """Whether this process was sent SIGUSR1, which `hold_requests` keeps back.

    Whoever works asks between two steps, saves, and raises `Stopped`.
    """

    @property
    def requested(self) -> bool:
        """Whether somebody has asked."""
        return SIGNAL in signal.sigpending()

    def take(self) -> bool:
        """Whether somebody has asked since this was last called: for those who pass the request on."""
        return self.requested and signal.sigtimedwait({SIGNAL}, 0) is not None
