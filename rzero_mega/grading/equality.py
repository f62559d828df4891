"""`equivalent`: one pair at a time, within a time limit. For many pairs, and for votes, there is `GradingPool`."""

from __future__ import annotations

import math
import threading
import weakref

from rzero_mega.grading.answers.answer import read_answer
from rzero_mega.grading.answers.comparison import compare_cheaply
from rzero_mega.grading.workers.processes import DECIDE, Outcome, WorkerProcesses

TIME_LIMIT_S = 2.0
MEMORY_LIMIT_MB = 512


def equivalent(a: str, b: str, time_limit_s: float = TIME_LIMIT_S) -> bool:
    """Whether two extracted answers, LaTeX or plain text, are the same answer. Symmetric; any text will do.

    What limits on size keep cheap is decided in this process, in milliseconds. The rest goes to a worker process, which
    is killed when it has computed for `time_limit_s` seconds or needs too much memory: then the answers count as not
    equal. The worker is started when a thread first needs it, or needs it again after a pair that broke a limit; its
    start, a second or two, comes on top of the limit. It then stays until the thread or the program ends.

    Raises TypeError for anything but strings, ValueError for a time limit that isn't a positive number, and
    RuntimeError if no worker can be started.
    """
    for name, answer in (("a", a), ("b", b)):
        if not isinstance(answer, str):
            raise TypeError(f"equivalent: {name} must be a string, not {type(answer).__name__}")
    if not (time_limit_s > 0 and math.isfinite(time_limit_s)):
        raise ValueError(f"equivalent: time_limit_s must be a positive number of seconds, not {time_limit_s}")
    verdict = compare_cheaply(read_answer(a), read_answer(b))
    if verdict is not None:
        return verdict[0]
    return _per_thread.own.worker.run([(a, b)], time_limit_s) == [Outcome.EQUAL]


class _OwnProcess:
    """A worker process that is ended when nobody holds this object any more, at the latest when the program ends."""

    def __init__(self) -> None:
        self.worker = WorkerProcesses(DECIDE, 1, TIME_LIMIT_S, MEMORY_LIMIT_MB)
        weakref.finalize(self, self.worker.close)


class _PerThread(threading.local):
    """What the thread that asks keeps from call to call, made when it first asks.

    One worker per thread, so that no call waits for another's pair, and because on Linux a worker ends with the thread
    that started it.
    """

    def __init__(self) -> None:
        self.own = _OwnProcess()


_per_thread = _PerThread()
