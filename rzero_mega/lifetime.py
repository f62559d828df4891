"""Processes that do not outlive the one that started them: ranks, servers, grading workers.

Who starts such a process gives it `environment_of_child`; it calls `die_with_parent` first of all. Linux alone can send
the signal; elsewhere only a parent that is gone already is noticed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping

PR_SET_PDEATHSIG = 1
# Number of the process that starts another, in the other's environment.
PARENT = "RZERO_MEGA_PARENT_PID"


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter.

    -P: a secrets.py or random.py in the working folder is none of the standard library's.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def environment_of_child(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ`, and in it the number of this process, which its child can then tell from whatever takes its place.

    Empty entries of PYTHONPATH, as PYTHONPATH=$PYTHONPATH:... leaves them, are gone: they mean the working folder.
    """
    environment = {**environ, PARENT: str(os.getpid())}
    if "PYTHONPATH" in environment:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, environment["PYTHONPATH"].split(os.pathsep)))
    return environment


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies; kill it now if that has happened.

    The parent is the process that PARENT in the environment names; this process takes its place for those that it
    starts. Without PARENT (ranks of torchrun) it is the present one: a death before this call then goes unnoticed. To
    be exact, Linux goes by the parent's *thread*: what is to live longer than a worker thread must be started from the
    main thread.
    """
    parent = int(os.environ.get(PARENT) or os.getppid())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    os.environ[PARENT] = str(os.getpid())
