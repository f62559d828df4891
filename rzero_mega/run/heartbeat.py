"""Ranks that watch each other: one that is stopped, or whose call never returns, is named and ends the job.

Waiting has no limit where the work of others takes as long as it takes (`spmd`); what must not last is a standstill. A
thread of every rank writes into the store through which the ranks met that the process runs and whether it moved, and
looks at the next rank's entry. So every rank is watched by one, whatever started them and on whatever machine they are.
Ranks that `launch` started leave the telling to it: it may find the same at the same time.

A process *moves* if one of the threads that do its work has had a processor since the last look, or if it waits for
other ranks: that is then the others' standstill. Threads that only accompany the work (progress bars, W&B) are daemons.
A loop without end moves; ranks that wait for it in a collective run into `learner.collective_timeout_s`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import psutil

from rzero_mega.errors import first_line
from rzero_mega.patience import Patience
from rzero_mega.terminal import say

HANG_EXIT_CODE = 124
"""As timeout(1) has it."""
FOUND = "RZERO_MEGA_FOUND"
"""Environment variable: the file in which a rank tells its launcher what it found of another one."""
LOOKS_PER_LIMIT = 10
PACKAGE = Path(__file__).resolve().parents[1]
# Files of the calls in which ranks wait for each other; those of the learner have a limit of their own.
WAITS = ("/torch/distributed/", "/megatron/core/")


class Store(Protocol):
    """What is used of torch's key-value stores."""

    def set(self, key: str, value: str) -> None:
        """Set a value that all ranks see."""

    def get(self, key: str) -> bytes:
        """A value that some rank has set."""
        ...

    def check(self, keys: list[str]) -> bool:
        """Whether all of them are set."""
        ...


@dataclass(frozen=True)
class Beat:
    """What a rank says of itself: looks so far, at how many of them it had moved, and where its main thread is.

    `left` is set at its end: nobody waits for it any more.
    """

    host: str
    pid: int
    looks: int
    moved: int
    place: str
    left: bool = False


@contextmanager
def heartbeat(
    store: Store, rank: int, world: int, limit_s: float, end: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Inside, this rank shows that it moves, and watches the next one.

    `end` gets the line that names a rank that has not moved for `limit_s` seconds; None ends the process with it.
    """
    watch = _Watch(store, rank, world, limit_s, end or _leave)
    watch.start()
    try:
        yield
    finally:
        watch.stop()


class _Watch:
    """The thread of one rank."""

    def __init__(self, store: Store, rank: int, world: int, limit_s: float, end: Callable[[str], None]) -> None:
        self._store, self._rank, self._world, self._limit_s, self._end = store, rank, world, limit_s, end
        self._next = (rank + 1) % world
        self._period_s = limit_s / LOOKS_PER_LIMIT
        self._main = threading.main_thread()
        self._movement = Movement()
        self._looks = self._moved = 0
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Say that this rank is there, and begin to look."""
        self._write()
        self._thread.start()

    def stop(self) -> None:
        """No more looks: a thread that met the interpreter's end inside the store would abort the process."""
        self._leaving.set()
        self._thread.join(self._limit_s)
        with suppress(RuntimeError):  # where the store was, nobody may be any more
            self._write(left=True)

    def _run(self) -> None:
        alive, moving = (Patience(self._limit_s, 2 * self._period_s) for _ in range(2))
        last: Beat | None = None
        while not self._leaving.wait(self._period_s):
            try:
                self._write()
                seen = self._read(self._next)
            except RuntimeError as error:
                # Where the store was, nobody is any more, or the machine is frozen; who started this rank will end it.
                self._end(f"the machine where the ranks meet does not answer: {first_line(error)}")
                return
            if seen is not None and seen.left:
                return
            if last is None or seen is None or seen.looks != last.looks:
                alive.sign()
            if last is None or seen is None or seen.moved != last.moved:
                moving.sign()
            last = seen
            if (alive.over() or moving.over()) and seen is not None:
                self._end(self._why(seen, stopped=alive.over()))
                return

    def _write(self, left: bool = False) -> None:
        self._looks += 1
        self._moved += self._movement.seen(self._main)
        beat = Beat(socket.gethostname(), os.getpid(), self._looks, self._moved, place_of(self._main), left)
        self._store.set(str(self._rank), json.dumps(asdict(beat)))

    def _read(self, rank: int) -> Beat | None:
        """What a rank said last; None as long as it has said nothing."""
        if not self._store.check([str(rank)]):
            return None
        return Beat(**json.loads(self._store.get(str(rank))))

    def _why(self, beat: Beat, stopped: bool) -> str:
        if stopped and beat.host == socket.gethostname() and is_stopped(beat.pid):
            return stopped_by_signal(self._next, self._limit_s)
        who = f"rank {self._next} (process {beat.pid} on {beat.host})"
        limit = _limit(self._limit_s)
        if stopped:
            return f"{who} shows no sign of life since {limit}: it was stopped, or its machine; last at {beat.place}"
        return f"{who} has not moved for {limit}: it hangs at {beat.place}"


def is_stopped(pid: int) -> bool:
    """Whether a process of this machine is one that a signal stopped."""
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return False


def stopped_by_signal(rank: int, limit_s: float, where: str = "") -> str:
    """What is said of such a rank, by whichever watcher finds it first. `where` is such as " on node n1"."""
    return f"rank {rank} was stopped by a signal{where} and did not go on for {_limit(limit_s)}"


def _limit(limit_s: float) -> str:
    return f"{limit_s:g} s (learner.hang_timeout_s)"


class Movement:
    """Whether the threads that do a process's work have run since the last look, or wait for other ranks."""

    def __init__(self) -> None:
        self._ran: dict[int, str] = {}

    def seen(self, main: threading.Thread) -> bool:
        """Look. True also where the system doesn't tell."""
        workers = [thread for thread in threading.enumerate() if not thread.daemon and thread.native_id is not None]
        ran = {thread.native_id or 0: _time_on_processors(thread.native_id or 0) for thread in workers}
        moved = any(text is None or self._ran.get(thread) != text for thread, text in ran.items())
        self._ran = {thread: text for thread, text in ran.items() if text is not None}
        return moved or any(waits_for_others(thread) for thread in (main, *workers))


def waits_for_others(thread: threading.Thread) -> bool:
    """Whether the thread is inside a call of torch or Megatron in which ranks meet, and in none of ours inside that."""
    frame = _frame(thread)
    while frame is not None:
        file = frame.f_code.co_filename
        if any(part in file for part in WAITS):
            return True
        if file.startswith(str(PACKAGE)):
            return False
        frame = frame.f_back
    return False


def place_of(thread: threading.Thread) -> str:
    """File, line and function of this package that the thread is in, such as `rollout/decoding.py:81 (decode)`."""
    frame = innermost = _frame(thread)
    while frame is not None:
        if frame.f_code.co_filename.startswith(str(PACKAGE)):
            return _place(frame, str(Path(frame.f_code.co_filename).relative_to(PACKAGE)))
        frame = frame.f_back
    return "its start" if innermost is None else _place(innermost, Path(innermost.f_code.co_filename).name)


def _place(frame: FrameType, file: str) -> str:
    return f"{file}:{frame.f_lineno} ({frame.f_code.co_name})"


def _frame(thread: threading.Thread) -> FrameType | None:
    return sys._current_frames().get(thread.ident or 0)


def _time_on_processors(thread: int) -> str | None:
    """Linux's account of a thread of this process: nanoseconds on processors, waiting for one, and time slices."""
    try:
        return Path(f"/proc/self/task/{thread}/schedstat").read_text()
    except OSError:
        return None


def _leave(why: str) -> None:
    if FOUND in os.environ:
        with suppress(OSError):
            Path(os.environ[FOUND]).write_text(why, encoding="utf-8")
    else:
        say(f"rzero-mega: {why}; the same command goes on from here", error=True)
    os._exit(HANG_EXIT_CODE)
