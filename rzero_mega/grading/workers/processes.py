"""Killable worker processes: a batch of pairs in, one outcome per pair out, in order, whatever the pairs do.

Why our own and not a library: workers are started as plain programs, because multiprocessing's spawn and forkserver
import the parent's ``__main__`` again in every worker (and torch with it), and fork copies a parent that holds threads
and sockets. Each worker has a socket of its own, because a pool with one shared queue behind a lock can't lose a worker
at any instant: pebble's ProcessPool stalls for good when one is killed while it holds the lock (noxdafox/pebble issue
163). concurrent.futures and loky give up the whole pool when one worker dies.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeAlias

from rzero_mega.lifetime import environment_of_child, module_command

Task: TypeAlias = str
"""What workers do with a pair: ``"module:function"``, a function ``(str, str) -> bool``.

They import it by name, so that the parent need not import what only they use.
"""

DECIDE: Task = "rzero_mega.grading.workers.task:decide"


class Reply(Enum):
    """What a worker sends: READY once, when its imports are done and its limits set, then one reply per pair."""

    READY = b"ready"
    EQUAL = b"equal"
    DIFFERENT = b"different"
    OUT_OF_MEMORY = b"out of memory"
    ERROR = b"error"


_START_LIMIT_S = 120.0
_MAX_FAILED_STARTS = 3
_RETIRE_AT = 0.5
"""The share of its memory limit at which a worker is replaced after a pair.

What earlier pairs left behind (caches of answers, a heap in pieces: 10 KB a pair was measured) must not make
a later pair, maybe an honest one, run into the limit.
"""
_MAX_ATTEMPTS = 2
"""A pair whose worker died is tried once more before it is blamed: something else may have killed the worker."""


class Outcome(Enum):
    """What became of one pair."""

    EQUAL = "equal"
    DIFFERENT = "different"
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    CRASHED = "crashed"


_OUTCOMES = {
    Reply.EQUAL: Outcome.EQUAL,
    Reply.DIFFERENT: Outcome.DIFFERENT,
    Reply.OUT_OF_MEMORY: Outcome.OUT_OF_MEMORY,
    Reply.ERROR: Outcome.CRASHED,
}


@dataclass(frozen=True, slots=True)
class ProcessCounts:
    """What became of workers: `started` is the sum of all others but `errors` and of those that still run.

    timeouts, memory_kills: killed, or ended, for breaking a limit. crashes: died otherwise. retired: replaced because
    they had grown. failed_starts: never got ready. errors: exceptions that a pair raised; they cost no worker.
    """

    started: int = 0
    timeouts: int = 0
    memory_kills: int = 0
    crashes: int = 0
    retired: int = 0
    failed_starts: int = 0
    errors: int = 0


@dataclass(slots=True)
class _OpenPair:
    index: int
    pair: tuple[str, str]
    seconds_left: float
    """For all attempts together, so that a death on the way doesn't double the limit."""
    attempts: int = 0


@dataclass(frozen=True)
class _Scheduling:
    """Whether a process has or waits for a processor, and the seconds that it has had of one (of a clock: no /proc)."""

    runnable: bool
    computed_s: float


class _Worker:
    """One worker process and this end of its socket."""

    def __init__(self, task: Task, memory_bytes: int) -> None:
        ours, theirs = socket.socketpair()
        python_path = os.pathsep.join(path or os.getcwd() for path in sys.path)
        try:
            self._process = subprocess.Popen(
                [
                    *module_command("rzero_mega.grading.workers.worker"),
                    *(str(theirs.fileno()), str(memory_bytes), task),
                ],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=environment_of_child({**os.environ, "PYTHONPATH": python_path}),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.connection = Connection(ours.detach())
        self.ready = False
        self._size_when_ready = 0
        self._computed_before = 0.0
        self.open_pair: _OpenPair | None = None
        self.deadline = time.monotonic() + _START_LIMIT_S

    @property
    def idle(self) -> bool:
        return self.ready and self.open_pair is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def note_ready(self) -> None:
        self.ready, self._size_when_ready = True, self._address_space()

    def growth(self) -> int:
        """Return by how many bytes the address space, which is what is limited, has grown since the start."""
        return self._address_space() - self._size_when_ready

    def _address_space(self) -> int:
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text().split()[0]
        except (OSError, IndexError):
            return 0  # no /proc, or it is ending: its socket will tell
        return int(pages) * resource.getpagesize()

    def give(self, open_pair: _OpenPair) -> None:
        self.open_pair = open_pair
        self._computed_before = self._scheduling().computed_s
        self.deadline = time.monotonic() + open_pair.seconds_left
        self.connection.send_bytes(json.dumps(open_pair.pair).encode())

    def seconds_left(self) -> float:
        """What the pair has left of its seconds; also of a process that has died and not been collected."""
        return self._seconds_left(self._scheduling())

    def waits_for_a_processor(self) -> bool:
        """Whether it would compute if others let it: it has time left and isn't asleep. Puts its deadline off then."""
        now = self._scheduling()
        left = self._seconds_left(now)
        if left <= 0 or not now.runnable:
            return False
        self.deadline = time.monotonic() + left
        return True

    def _seconds_left(self, now: _Scheduling) -> float:
        assert self.open_pair is not None
        return self.open_pair.seconds_left - (now.computed_s - self._computed_before)

    def _scheduling(self) -> _Scheduling:
        try:
            # proc(5): the name, second, may hold anything; third is the state, 14th and 15th are ticks of user and
            # system time.
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return _Scheduling(fields[0] == "R", (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
        except (OSError, IndexError):  # no /proc
            return _Scheduling(False, time.monotonic())

    def kill(self) -> int:
        """End the process, whatever it does, and return its exit status (minus the signal's number if it got one)."""
        self.connection.close()
        self._process.kill()
        return self._process.wait()

    def collect(self) -> int:
        """Return the exit status of a process whose socket has closed, killing it if it lingers."""
        try:
            status = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return self.kill()
        self.connection.close()
        return status


class WorkerProcesses:
    """Runs batches of pairs through a task in worker processes with hard limits. Workers start when there is work.

    workers: most processes at a time. time_limit_s: seconds per pair, of a processor where there is /proc: verdicts are
    those of a quiet machine on a busy one, too. memory_limit_mb: address space in MiB on top of what a worker needs
    once started. Raises RuntimeError if workers can't be started at all. On Linux a worker also ends with the thread
    that started it, so call `run` from a thread that lives on. A forked child doesn't use the workers of its parent,
    but starts its own.
    """

    def __init__(self, task: Task, workers: int, time_limit_s: float, memory_limit_mb: int) -> None:
        self._task = task
        self._size = workers
        self._time_limit_s = time_limit_s
        self._memory_bytes = memory_limit_mb * 2**20
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._owner = os.getpid()
        self.counts = ProcessCounts()

    @property
    def pids(self) -> list[int]:
        """The processes that run now."""
        return [worker.pid for worker in self._workers]

    def start(self) -> None:
        """Start all workers and wait until they are ready. Without this they start when there is work for them."""
        self._leave_to_parent()
        self._start_missing(self._size)
        while not all(worker.ready for worker in self._workers):
            self._listen(deque(), {})
            self._stop_overdue({})
            self._start_missing(self._size)

    def run(self, pairs: Sequence[tuple[str, str]], time_limit_s: float | None = None) -> list[Outcome]:
        """Return the outcome of each pair, in order. A time limit given here holds for this batch."""
        self._leave_to_parent()
        seconds = self._time_limit_s if time_limit_s is None else time_limit_s
        queue = deque(_OpenPair(index, pair, seconds) for index, pair in enumerate(pairs))
        outcomes: dict[int, Outcome] = {}
        try:
            while len(outcomes) < len(pairs):
                self._start_missing(len(pairs) - len(outcomes))
                self._hand_out(queue)
                self._listen(queue, outcomes)
                self._stop_overdue(outcomes)
        finally:
            for worker in [worker for worker in self._workers if worker.open_pair is not None]:
                self._workers.remove(worker)  # only on an exception: its reply would be taken for the next batch's
                worker.kill()
        return [outcomes[index] for index in range(len(pairs))]

    def close(self) -> None:
        """End all workers. They hold no state, so they are killed."""
        self._leave_to_parent()
        while self._workers:
            self._workers.pop().kill()

    def _leave_to_parent(self) -> None:
        """In a forked child, let go of the parent's workers: both would read from the same sockets."""
        if self._owner != os.getpid():
            for worker in self._workers:
                worker.connection.close()
            self._workers.clear()
            self._owner = os.getpid()

    def _count(self, **more: int) -> None:
        self.counts = replace(self.counts, **{name: getattr(self.counts, name) + by for name, by in more.items()})

    def _start_missing(self, open_pairs: int) -> None:
        while len(self._workers) < min(self._size, open_pairs):
            self._workers.append(_Worker(self._task, self._memory_bytes))
            self._count(started=1)

    def _hand_out(self, queue: deque[_OpenPair]) -> None:
        for worker in [worker for worker in self._workers if worker.idle]:
            if not queue:
                return
            open_pair = queue.popleft()
            try:
                worker.give(open_pair)
            except OSError:  # it died while idle; the pair never reached it
                worker.open_pair = None
                queue.appendleft(open_pair)
                self._bury(worker, queue, {})

    def _listen(self, queue: deque[_OpenPair], outcomes: dict[int, Outcome]) -> None:
        """Wait for the next message, death or deadline, and take in what has come."""
        due = min((worker.deadline for worker in self._workers if not worker.idle), default=time.monotonic())
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection), timeout=max(0.0, due - time.monotonic())):
            worker = by_connection[connection]  # type: ignore[index]  # `wait` returns what it was given
            try:
                message = worker.connection.recv_bytes(maxlength=4096)
            except (EOFError, OSError):
                self._bury(worker, queue, outcomes)
            else:
                self._take(worker, message, outcomes)

    def _take(self, worker: _Worker, message: bytes, outcomes: dict[int, Outcome]) -> None:
        reply = Reply(message)
        if reply is Reply.READY:
            worker.note_ready()
            self._failed_starts = 0
            return
        assert worker.open_pair is not None
        outcomes[worker.open_pair.index] = _OUTCOMES[reply]
        worker.open_pair = None
        self._count(memory_kills=int(reply is Reply.OUT_OF_MEMORY), errors=int(reply is Reply.ERROR))
        retired = reply is not Reply.OUT_OF_MEMORY and worker.growth() > self._memory_bytes * _RETIRE_AT
        if retired or reply is Reply.OUT_OF_MEMORY:
            self._count(retired=int(retired))
            self._workers.remove(worker)
            worker.kill()

    def _bury(self, worker: _Worker, queue: deque[_OpenPair], outcomes: dict[int, Outcome]) -> None:
        """Account for a worker that died. A SIGKILL that we didn't send is the out-of-memory killer's."""
        self._workers.remove(worker)
        left = worker.seconds_left() if worker.open_pair is not None else 0.0
        status = worker.collect()
        killed = status == -signal.SIGKILL
        if not worker.ready:
            self._note_failed_start(f"exit status {status}")
            return
        self._count(memory_kills=int(killed), crashes=int(not killed))
        open_pair = worker.open_pair
        if open_pair is None:
            return
        open_pair.attempts += 1
        open_pair.seconds_left = left
        if open_pair.attempts < _MAX_ATTEMPTS and open_pair.seconds_left > 0:
            queue.appendleft(open_pair)
        else:
            outcomes[open_pair.index] = Outcome.OUT_OF_MEMORY if killed else Outcome.CRASHED

    def _note_failed_start(self, reason: str) -> None:
        self._count(failed_starts=1)
        self._failed_starts += 1
        if self._failed_starts >= _MAX_FAILED_STARTS:
            raise RuntimeError(f"grading workers do not start ({reason}); see their messages on standard error")

    def _stop_overdue(self, outcomes: dict[int, Outcome]) -> None:
        now = time.monotonic()
        for worker in [worker for worker in self._workers if not worker.idle and worker.deadline <= now]:
            if worker.open_pair is not None and worker.waits_for_a_processor():
                continue
            self._workers.remove(worker)
            worker.kill()
            if worker.open_pair is None:
                self._note_failed_start("no sign of life")
            else:
                outcomes[worker.open_pair.index] = Outcome.TIMED_OUT
                self._count(timeouts=1)
