"""The processes of one job on this machine: started together, ended together."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
STORE = "RZERO_MEGA_STORE"
GRACE_S = 20.0


def is_rank() -> bool:
    """Whether this process is one of several that were started together, by `launch` or by torchrun."""
    return "RANK" in os.environ


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run `python -m rzero_mega ARGUMENTS` in so many processes; returns the exit code of the first that failed, or 0.

    They meet through a file, so nothing listens on the network but gloo on the loopback interface. When one fails, the
    others are ended. They die with this process, also when it is killed.
    """
    with tempfile.TemporaryDirectory(prefix="rzero-mega-") as folder:
        children: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(processes):
                children.append(_start(arguments, rank, processes, Path(folder) / "store"))
            return _wait(children)
        finally:
            _end(children)


def _start(arguments: Sequence[str], rank: int, processes: int, store: Path) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        STORE: str(store),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),
    }
    command = [sys.executable, "-m", "rzero_mega", *arguments]
    return subprocess.Popen(command, env=environment)


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies. Called by ranks, early."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int:
    while True:
        codes = [child.poll() for child in children]
        failed = [code for code in codes if code]
        if failed:
            # The rank that met the error and the ones that lost their peer end together; an error of the user's counts.
            time.sleep(0.5)
            codes = [child.poll() for child in children]
            return 2 if 2 in codes else failed[0]
        if all(code == 0 for code in codes):
            return 0
        time.sleep(0.05)


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + GRACE_S
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
