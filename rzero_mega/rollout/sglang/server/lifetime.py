"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
# Number of the process that starts another, in the other's environment.
PARENT = "RZERO_MEGA_PARENT_PID"


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies; kill it now if that has happened.

    The parent is the process that PARENT in the environment names; this process takes its place for those that it
    starts. To be exact, Linux goes by the parent's *thread*: a server that is to live longer than a worker thread must
    be started from the main thread.
    """
    parent = int(os.environ.get(PARENT) or os.getppid())
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    os.environ[PARENT] = str(os.getpid())
