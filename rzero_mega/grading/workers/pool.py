"""Grading in bulk: cheap evidence in this process, the rest in killable workers, every verdict remembered."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TypeAlias

from rzero_mega.grading.answers.answer import Answer, read_answer
from rzero_mega.grading.answers.classes import Pair, equivalence_classes
from rzero_mega.grading.answers.comparison import How, compare_cheaply
from rzero_mega.grading.workers.processes import DECIDE, Outcome, Task, WorkerProcesses

_Key: TypeAlias = tuple[tuple[str, str], tuple[str, str]]

_HOW = {
    Outcome.EQUAL: How.COMPUTED,
    Outcome.DIFFERENT: How.COMPUTED,
    Outcome.TIMED_OUT: How.TIMED_OUT,
    Outcome.OUT_OF_MEMORY: How.OUT_OF_MEMORY,
    Outcome.CRASHED: How.CRASHED,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a pair is equal, and what that rests on. A pair that broke a limit is not equal."""

    equal: bool
    how: How


@dataclass(frozen=True, slots=True)
class GradingStats:
    """Totals since the pool was made.

    graded: pairs compared. cheap: of these, decided in this process (or remembered). symbolic: pairs sent to a worker.
    timeouts, memory_kills: workers killed, or ended, for breaking a limit. crashes: workers that died otherwise, and
    errors.
    """

    graded: int = 0
    cheap: int = 0
    symbolic: int = 0
    timeouts: int = 0
    memory_kills: int = 0
    crashes: int = 0


class GradingPool:
    """Compares answers, with worker processes for what can't be decided at once. A context manager.

    workers: most processes at a time, None for one per processor that this process may use; they start when first
    needed. time_limit_s: seconds of computing per pair, after which its worker is killed and replaced. memory_limit_mb:
    address space in MiB on top of what a worker needs once started. remembered: most verdicts kept. task: what workers
    do with a pair (`processes.Task`), by default `task.decide`.
    """

    def __init__(
        self,
        workers: int | None,
        time_limit_s: float,
        memory_limit_mb: int,
        *,
        remembered: int = 16_384,
        task: Task = DECIDE,
    ) -> None:
        workers = len(os.sched_getaffinity(0)) if workers is None else workers
        if workers < 1 or time_limit_s <= 0 or memory_limit_mb < 1 or remembered < 0:
            raise ValueError("workers, time_limit_s and memory_limit_mb must be positive")
        self._task = task
        self._limits = (workers, time_limit_s, memory_limit_mb)
        self._processes: WorkerProcesses | None = None
        self._remembered = remembered
        self._verdicts: dict[_Key, Verdict] = {}
        self._stats = GradingStats()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> GradingPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all worker processes. The pool can't be used after that."""
        with self._lock:
            self._closed = True
            if self._processes is not None:
                self._processes.close()

    def start(self) -> None:
        """Start all workers now and wait until they are ready. Raises ValueError on a closed pool."""
        with self._lock:
            self._require_open()
            self._workers().start()

    @property
    def stats(self) -> GradingStats:
        """Totals so far."""
        if self._processes is None:
            return self._stats
        counts = self._processes.counts
        crashes = counts.crashes + counts.errors
        return replace(self._stats, timeouts=counts.timeouts, memory_kills=counts.memory_kills, crashes=crashes)

    def equivalent_pairs(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return one verdict per pair, in order. Raises ValueError on a closed pool."""
        with self._lock:
            self._require_open()
            verdicts = [self._at_once(a, b) for a, b in pairs]
            open_pairs = [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict is None]
            computed = iter(self._computed(open_pairs))
            self._stats = replace(
                self._stats,
                graded=self._stats.graded + len(pairs),
                cheap=self._stats.cheap + len(pairs) - len(open_pairs),
            )
            return [next(computed) if verdict is None else verdict for verdict in verdicts]

    def equivalence_classes(self, answers_per_question: Sequence[Sequence[str | None]]) -> list[list[int | None]]:
        """Return a class number per answer of each question; None, an answer that isn't there, has none.

        The grouping doesn't depend on the order of the answers (`answers.classes`). Classes are numbered from 0 in
        order of first appearance.
        """
        return equivalence_classes(
            answers_per_question, lambda pairs: [verdict.equal for verdict in self.equivalent_pairs(pairs)]
        )

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError("the grading pool is closed")

    def _at_once(self, a: str, b: str) -> Verdict | None:
        first, second = read_answer(a), read_answer(b)
        cheap = compare_cheaply(first, second)
        return self._verdicts.get(_key(first, second)) if cheap is None else Verdict(*cheap)

    def _computed(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Return the workers' verdicts; pairs that come down to the same one are computed once."""
        if not pairs:
            return []
        keys = [_key(read_answer(a), read_answer(b)) for a, b in pairs]
        distinct = dict(zip(keys, pairs, strict=True))
        outcomes = self._workers().run(list(distinct.values()))
        fresh = {
            key: Verdict(outcome is Outcome.EQUAL, _HOW[outcome])
            for key, outcome in zip(distinct, outcomes, strict=True)
        }
        self._stats = replace(self._stats, symbolic=self._stats.symbolic + len(distinct))
        self._verdicts.update(fresh)
        while len(self._verdicts) > self._remembered:
            del self._verdicts[next(iter(self._verdicts))]  # the oldest
        return [fresh[key] for key in keys]

    def _workers(self) -> WorkerProcesses:
        if self._processes is None:
            self._processes = WorkerProcesses(self._task, *self._limits)
        return self._processes


def _key(a: Answer, b: Answer) -> _Key:
    first, second = sorted((answer.key, answer.unit.name if answer.unit else "") for answer in (a, b))
    return first, second
