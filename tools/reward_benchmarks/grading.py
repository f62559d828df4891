"""Grading against math-verify and mathruler: accuracy on the labelled corpus, and speed on a load of votes.

The load (`vote_load`) is graded as votes: the answers to a question are grouped by equality. Ours does so by
`GradingPool.equivalence_classes`. The others decide pairs, so they group as the official R-Zero code does: an answer
joins the first group whose first member it equals. They get what they need to be quick at that: equal texts are one
answer, no pair of texts is decided twice in the whole load, and math-verify parses no text twice.

Every measurement runs in a new process, so nobody finds what an earlier one left in a cache; imports, and the start of
our workers, come before the clock. The others grade the first questions of the load only; their seconds for all of it
are extrapolated by the number of distinct texts, which favours them, as comparisons grow with the questions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from math import comb
from multiprocessing import get_context
from statistics import median
from typing import Any, TypeAlias

from psutil import Process

from rzero_mega.grading import GradingPool
from rzero_mega.grading.workers.processes import Outcome, WorkerProcesses
from tests.grading.answer_corpus import LabelledPair, load_corpus
from tools.reward_benchmarks import judges
from tools.reward_benchmarks.vote_load import vote_load

Judge: TypeAlias = Callable[[str, str], bool]
Load: TypeAlias = Sequence[Sequence[str | None]]

QUESTIONS = 2048
SAMPLE = 96
TIME_LIMIT_S, MEMORY_LIMIT_MB = 10.0, 1024  # long enough that a busy machine changes no verdict
JUDGE_LIMIT_S, JUDGE_MEMORY_MB = 20.0, 4096
OURS = "rzero_mega"


@dataclass
class Accuracy:
    """How many pairs of the corpus a grader judges as labelled; `categories` maps each to (right, pairs).

    stopped: pairs on which it hung, ran out of memory or failed; they count as judged "not equal".
    """

    grader: str
    categories: dict[str, tuple[int, int]]
    stopped: int

    @property
    def right(self) -> int:
        return sum(right for right, _ in self.categories.values())

    @property
    def pairs(self) -> int:
        return sum(pairs for _, pairs in self.categories.values())

    @property
    def share(self) -> float:
        return self.right / self.pairs


@dataclass
class Throughput:
    """One grader on the load of votes. Medians; seconds are those of the whole load, by the clock and of processors.

    measured: questions that were graded; where they are fewer than `questions`, the seconds are extrapolated.
    pairs: pairs of answers of one question, which is what grouping decides.
    """

    grader: str
    questions: int
    measured: int
    pairs: int
    seconds: float
    processor_seconds: float

    @property
    def pairs_per_second(self) -> float:
        return self.pairs / self.seconds


@dataclass
class Grading:
    """Both tables, ours first."""

    repeats: int
    accuracy: list[Accuracy] = field(default_factory=list)
    throughput: list[Throughput] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Cost:
    seconds: float
    processor_seconds: float


def run(
    repeats: int, questions: int = QUESTIONS, sample: int = SAMPLE, corpus: Sequence[LabelledPair] | None = None
) -> Grading:
    """Measure all three graders; the order in which they take turns changes from round to round.

    questions: size of the load. sample: how many of them the others grade. corpus: by default that of the tests.
    """
    names, corpus = list(GRADERS), load_corpus() if corpus is None else corpus
    results = Grading(repeats, [_accuracy(name, corpus) for name in names])
    sizes = {name: questions if name == OURS else min(sample, questions) for name in names}
    costs: dict[str, list[_Cost]] = {name: [] for name in names}
    for round_number in range(repeats):
        first = round_number % len(names)
        for name in names[first:] + names[:first]:
            costs[name].append(_in_new_process(_grade, name, questions, sizes[name]))
    load = vote_load(questions)
    pairs = sum(comb(sum(answer is not None for answer in answers), 2) for answers in load)
    for name in names:
        scale = _distinct(load) / _distinct(load[: sizes[name]])
        seconds = scale * median(cost.seconds for cost in costs[name])
        processor = scale * median(cost.processor_seconds for cost in costs[name])
        results.throughput.append(Throughput(name, questions, sizes[name], pairs, seconds, processor))
    return results


def tables(results: Grading) -> Iterator[str]:
    """The results as Markdown."""
    ours = results.throughput[0]
    yield (
        f"Grading {ours.questions} questions of {len(vote_load(1)[0])} votes, {ours.pairs} pairs; by the clock, "
        f"medians of {results.repeats}; * extrapolated from the first questions by the number of distinct texts"
    )
    columns = ("grader", "questions graded", "seconds", "pairs/s", "theirs/ours", "processor seconds", "theirs/ours")
    yield _line(*columns, "accuracy", "hung")
    yield "|---|---|---|---|---|---|---|---|---|"
    for row, judged in zip(results.throughput, results.accuracy, strict=True):
        mark = "" if row.measured == row.questions else "*"
        cells = [_title(row.grader), row.measured, f"{row.seconds:.2f}{mark}", f"{row.pairs_per_second:.0f}"]
        cells += [f"{row.seconds / ours.seconds:.1f}x", f"{row.processor_seconds:.2f}{mark}"]
        cells += [f"{row.processor_seconds / ours.processor_seconds:.1f}x"]
        yield _line(*cells, f"{judged.right} of {judged.pairs}, {judged.share:.1%}", judged.stopped)
    yield from ("", "Pairs judged as labelled, by category")
    yield _line("category", "pairs", *(_title(judged.grader) for judged in results.accuracy))
    yield "|---" * (2 + len(results.accuracy)) + "|"
    for category, (_, pairs) in results.accuracy[0].categories.items():
        yield _line(category, pairs, *(judged.categories[category][0] for judged in results.accuracy))


def _title(grader: str) -> str:
    return grader if grader == OURS else f"{grader} {version(grader)}"


def _line(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _accuracy(grader: str, corpus: Sequence[LabelledPair]) -> Accuracy:
    """Ask about each pair in a process that is killed after JUDGE_LIMIT_S; that counts as "not equal"."""
    task = f"tools.reward_benchmarks.judges:{grader.replace('-', '_')}"
    workers = WorkerProcesses(task, 1, JUDGE_LIMIT_S, JUDGE_MEMORY_MB)
    try:
        outcomes = workers.run([(pair.a, pair.b) for pair in corpus])
    finally:
        workers.close()
    categories: dict[str, tuple[int, int]] = {}
    for pair, outcome in zip(corpus, outcomes, strict=True):
        right, pairs = categories.get(pair.category, (0, 0))
        categories[pair.category] = (right + ((outcome is Outcome.EQUAL) is pair.equal), pairs + 1)
    stopped = sum(outcome not in (Outcome.EQUAL, Outcome.DIFFERENT) for outcome in outcomes)
    return Accuracy(grader, categories, stopped)


def _in_new_process(function: Callable[..., Any], *arguments: object) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def _distinct(load: Load) -> int:
    return len({answer for answers in load for answer in answers if answer is not None})


# In processes of their own.


def _grade(grader: str, questions: int, measured: int) -> _Cost:
    return GRADERS[grader](vote_load(questions)[:measured])


def _measured(work: Callable[[], object], pids: Sequence[int] = ()) -> _Cost:
    began, processor = time.perf_counter(), _processor_seconds(pids)
    work()
    return _Cost(time.perf_counter() - began, _processor_seconds(pids) - processor)


def _processor_seconds(pids: Sequence[int] = ()) -> float:
    """Those of this process and of the processes named, which run."""
    times = [Process(pid).cpu_times() for pid in (os.getpid(), *pids)]
    return sum(time.user + time.system for time in times)


def _grade_ours(load: Load) -> _Cost:
    with GradingPool(None, TIME_LIMIT_S, MEMORY_LIMIT_MB) as pool:
        pool.start()
        pids = pool._workers().pids
        cost = _measured(lambda: pool.equivalence_classes(load), pids)
        if pool._workers().pids != pids:
            raise SystemExit("bench_rewards: a worker was replaced, so its processor seconds are lost; measure again")
        return cost


def _group_pairwise(load: Load, judge: Judge) -> list[list[int | None]]:
    """Group as the official code does, with one decision for each pair of texts."""
    once = lru_cache(maxsize=None)(judge)
    numbered: list[list[int | None]] = []
    for answers in load:
        firsts: list[str] = []
        group_of: dict[str, int] = {}
        for answer in answers:
            if answer is None or answer in group_of:
                continue
            group = next((number for number, first in enumerate(firsts) if once(first, answer)), len(firsts))
            if group == len(firsts):
                firsts.append(answer)
            group_of[answer] = group
        numbered.append([None if answer is None else group_of[answer] for answer in answers])
    return numbered


def _grade_with_math_verify(load: Load) -> _Cost:
    judges.math_verify("1", "1")  # imports what it needs
    return _measured(lambda: _group_pairwise(load, judges.math_verify))


def _grade_with_mathruler(load: Load) -> _Cost:
    judges.mathruler("1", "1")  # imports what it needs
    return _measured(lambda: _group_pairwise(load, judges.mathruler))


GRADERS: dict[str, Callable[[Load], _Cost]] = {
    OURS: _grade_ours,
    "math-verify": _grade_with_math_verify,
    "mathruler": _grade_with_mathruler,
}
