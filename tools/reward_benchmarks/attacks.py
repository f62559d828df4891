"""The attack table: what hostile answers (`hostile_answers`) are stopped by, family by family, and how long that takes.

Each attack goes the way that a sample's answer goes: out of its box, read, compared by cheap evidence in this process,
and if that leaves it open by a worker process with limits. Seconds are by the clock, without the start of a worker.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from rzero_mega.grading import extract_answer
from rzero_mega.grading.answers.answer import read_answer
from rzero_mega.grading.answers.comparison import compare_cheaply
from rzero_mega.grading.workers.processes import DECIDE, Outcome, ProcessCounts, WorkerProcesses
from tools.reward_benchmarks.hostile_answers import Attack, attacks

ATTACKS = 10_000
TIME_LIMIT_S = 1.0
MEMORY_LIMIT_MB = 512

STOPS = ("refused", "exact", "computed", "time limit", "memory limit", "error")
"""What may stop an attack, cheapest first.

refused: one of them is no expression within the limits, so the answers compare as text. exact: unit, rational
arithmetic, structure or doubles. computed: high precision, in a worker. The limits end the worker.
"""
_BY_OUTCOME = {
    Outcome.EQUAL: "computed",
    Outcome.DIFFERENT: "computed",
    Outcome.TIMED_OUT: "time limit",
    Outcome.OUT_OF_MEMORY: "memory limit",
    Outcome.CRASHED: "error",
}


@dataclass(frozen=True, slots=True)
class Stop:
    """What stopped one attack. Seconds: of all, of extraction, and of what ran in this process."""

    family: str
    by: str
    seconds: float
    extraction_s: float
    here_s: float


@dataclass
class Row:
    """One family: how many attacks, stopped by what, and the longest and median seconds of one."""

    family: str
    tried: int
    stopped: dict[str, int]
    slowest_s: float
    slowest_here_s: float
    slowest_extraction_s: float
    median_s: float


@dataclass
class Attacks:
    """The table, and what became of the workers."""

    time_limit_s: float
    memory_limit_mb: int
    seconds: float
    workers: ProcessCounts
    running_at_end: int
    rows: list[Row] = field(default_factory=list)

    @property
    def unaccounted(self) -> int:
        """Workers that are gone and no count says why."""
        counts = self.workers
        ended = counts.timeouts + counts.memory_kills + counts.crashes + counts.retired + counts.failed_starts
        return counts.started - ended - self.running_at_end


def run(repeats: int = 1, count: int = ATTACKS, seed: int = 0, time_limit_s: float = TIME_LIMIT_S) -> Attacks:
    """Try `count` attacks one after the other; each once, whatever `repeats` asks of benchmarks that give medians."""
    began = time.perf_counter()
    workers = WorkerProcesses(DECIDE, 1, time_limit_s, MEMORY_LIMIT_MB)
    try:
        stops = [attempt(attack, workers) for attack in attacks(count, seed)]
        running = len(workers.pids)
    finally:
        workers.close()
    found = Attacks(time_limit_s, MEMORY_LIMIT_MB, time.perf_counter() - began, workers.counts, running)
    for family in dict.fromkeys(stop.family for stop in stops):
        found.rows.append(_row(family, [stop for stop in stops if stop.family == family]))
    found.rows.append(_row("all", stops))
    return found


def attempt(attack: Attack, workers: WorkerProcesses) -> Stop:
    """Try one attack and say what stopped it."""
    workers.start()  # again, if the last attack ended one
    began = time.perf_counter()
    for text in (attack.a, attack.b):
        extract_answer(rf"\boxed{{{text}}}")
    extracted = time.perf_counter()
    first, second = read_answer(attack.a), read_answer(attack.b)
    verdict = compare_cheaply(first, second)
    here = time.perf_counter()
    if verdict is None:
        by = _BY_OUTCOME[workers.run([(attack.a, attack.b)])[0]]
    elif first.tree is None or second.tree is None:
        by = "refused"
    else:
        by = "exact"
    return Stop(attack.family, by, time.perf_counter() - began, extracted - began, here - began)


def _row(family: str, stops: Sequence[Stop]) -> Row:
    counted = Counter(stop.by for stop in stops)
    return Row(
        family=family,
        tried=len(stops),
        stopped={by: counted[by] for by in STOPS if counted[by]},
        slowest_s=max(stop.seconds for stop in stops),
        slowest_here_s=max(stop.here_s for stop in stops),
        slowest_extraction_s=max(stop.extraction_s for stop in stops),
        median_s=median(stop.seconds for stop in stops),
    )


def tables(results: Attacks) -> Iterator[str]:
    """The results as Markdown."""
    counts = results.workers
    yield (
        f"{results.rows[-1].tried} attacks in {results.seconds:.0f} s by the clock, tried once; limits "
        f"{results.time_limit_s:g} s and {results.memory_limit_mb} MB"
    )
    yield (
        f"workers: {counts.started} started, {counts.timeouts} ended for time, {counts.memory_kills} for memory, "
        f"{counts.retired} retired, {counts.crashes} died otherwise, {counts.failed_starts} did not start, "
        f"{results.running_at_end} running at the end, {results.unaccounted} unaccounted for"
    )
    yield f"| family | tried | {' | '.join(STOPS)} | slowest pair | of it here | slowest extraction | median |"
    yield "|---" * (len(STOPS) + 6) + "|"
    for row in results.rows:
        cells = [row.family, str(row.tried), *(str(row.stopped.get(by, 0)) for by in STOPS)]
        cells += [f"{row.slowest_s * 1e3:.0f} ms", f"{row.slowest_here_s * 1e3:.0f} ms"]
        cells += [f"{row.slowest_extraction_s * 1e3:.0f} ms", f"{row.median_s * 1e3:.2f} ms"]
        yield "| " + " | ".join(cells) + " |"
