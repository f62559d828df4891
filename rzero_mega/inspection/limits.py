"""Work on what others wrote, in a process of its own that is bounded in time and memory and cannot take this one along.

The process is a fork: what it needs is imported here already, which takes seconds. It answers with lines of JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import NoReturn

from rzero_mega.errors import UserError, first_line
from rzero_mega.lifetime import PR_SET_PDEATHSIG

MB = 1024**2
MOST_ANSWER_BYTES = MB

Say = Callable[[str], None]


def within_limits(work: Callable[[Say], object], seconds: float, memory_mb: int) -> None:
    """Do `work` in a process of its own. It is given a function with which it says what it is at.

    UserError with the work's own message if it raised one; else with what it was at, if it took longer or more memory
    than it may, or died. `memory_mb` come on top of what this process has.
    """
    parent, child = Pipe()
    number = os.fork()
    if number == 0:
        parent.close()
        _work(work, child, seconds, memory_mb)
    child.close()
    try:
        _listen(parent, time.monotonic() + seconds, seconds, memory_mb)
    finally:
        parent.close()
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)


def _listen(connection: Connection, end: float, seconds: float, memory_mb: int) -> None:
    at = "the model's folder"
    while connection.poll(max(0.0, end - time.monotonic())):
        try:
            kind, text = json.loads(connection.recv_bytes(MOST_ANSWER_BYTES))
        except (EOFError, OSError, ValueError):
            raise UserError(f"{at}: whatever reads it dies of it; is it damaged?") from None
        if kind == "done":
            return
        if kind == "memory":
            raise UserError(f"{at}: takes more than {memory_mb} MB of memory; is it damaged, or made to do so?")
        if kind == "error":
            raise UserError(text)
        at = text
    raise UserError(f"{at}: takes longer than {seconds:g} s; is it damaged, or made to do so?")


def _work(work: Callable[[Say], object], connection: Connection, seconds: float, memory_mb: int) -> NoReturn:
    """The child: answers, and leaves without any of the parent's handlers and buffers."""
    at = "the model's folder"

    def answer(kind: str, text: str = "") -> None:
        connection.send_bytes(json.dumps([kind, text]).encode())

    def say(text: str) -> None:
        nonlocal at
        at = text
        answer("at", text)

    try:
        _limit(seconds, memory_mb)
        work(say)
        answer("done")
    except UserError as error:
        answer("error", str(error)[:2000])
    except MemoryError:
        answer("memory")
    except BaseException as error:  # the libraries raise all kinds, also such as are no Exception
        answer("error", f"{at}: not readable: {first_line(error)[:500]}")
    finally:
        os._exit(0)


def _limit(seconds: float, memory_mb: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)  # libraries print on their way down
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_CPU, int(seconds) + 1)
    statm = Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text().split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_mb * MB)


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(kind, (limit, limit))
