"""Grades hostile answers in a pool under audit (`grading_audit`) and prints as JSON what became of them.

Usage: ``python -m tests.grading.attack_batch COUNT TIME_LIMIT_S MEMORY_LIMIT_MB``. A program of its own because audit
hooks stay. Among the attacks are honest pairs, whose verdicts show that the batch came back whole and in order.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from rzero_mega.grading import GradingPool
from tests.grading import grading_audit
from tools.reward_benchmarks.hostile_answers import attacks

BATCH = 500
HONEST_EVERY = 50


def honest(number: int) -> tuple[str, str]:
    """A pair that a worker must decide; equal if `number` is even."""
    n = number + 2
    return rf"\sqrt{{{2 * n * n}}}", rf"{n}\sqrt{{2}}" if number % 2 == 0 else rf"{n}\sqrt{{2}}+10^{{-30}}"


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main(count: int, time_limit_s: float, memory_limit_mb: int) -> None:
    grading_audit.watch()
    hostile = attacks(count)
    wrong: list[int] = []
    resident: list[float] = []
    pids: set[int] = set()
    graded = 0
    with GradingPool(2, time_limit_s, memory_limit_mb, task=grading_audit.TASK) as pool:
        pool.start()
        workers = pool._workers()
        first_mb = max(map(resident_mb, workers.pids))
        while batch := [(attack.a, attack.b) for attack in islice(hostile, BATCH)]:
            places = range(0, len(batch), HONEST_EVERY)
            for place in places:
                batch.insert(place, honest(graded + place))
            verdicts = pool.equivalent_pairs(batch)
            wrong += [graded + p for p in places if verdicts[p].equal is not ((graded + p) % 2 == 0)]
            graded += len(verdicts)
            pids |= set(workers.pids)
            resident += map(resident_mb, workers.pids)
        running = len(workers.pids)
        found = {"graded": graded, "wrong": wrong, "stats": asdict(pool.stats), "workers": asdict(workers.counts)}
    found |= {"running": running, "pids": sorted(pids), "first_mb": first_mb, "most_mb": max(resident)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
