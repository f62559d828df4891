"""Holding a step's questions against what ten iterations of the paper's size have asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from time import process_time

from rzero_mega.coevolution.question_memory import QuestionMemory
from rzero_mega.config.schema import MemoryConfig, RepetitionConfig
from tools.measurement import Peak, alternate
from tools.reward_benchmarks.near_duplicates import COPIED, questions

REMEMBERED = 80_000
STEP = 2_048


@dataclass(frozen=True)
class Row:
    """A step against the memory, of which a share `copied` are copies but for one to three words."""

    remembered: int
    asked: int
    copied: float
    build_seconds: float
    nbytes: int
    microseconds: float
    found: int


@dataclass(frozen=True)
class Memory:
    """One row per share of copies."""

    rows: list[Row]


def run(repeats: int) -> Memory:
    """Measure."""
    return Memory([_measure(copied, repeats) for copied in COPIED])


def tables(result: Memory) -> Iterator[str]:
    """The result in Markdown."""
    yield "### The Challenger's memory, words by Zipf's law"
    yield ""
    yield "| remembered | asked | near-copies made | to build | memory | per question asked | found similar |"
    yield "|---|---|---|---|---|---|---|"
    for row in result.rows:
        cost = f"{row.build_seconds:.0f} s | {row.nbytes / (1 << 20):.0f} MB | {row.microseconds:.0f} µs"
        yield f"| {row.remembered} | {row.asked} | {row.copied:.0%} | {cost} | {row.found} |"


def _measure(copied: float, repeats: int) -> Row:
    texts = questions(REMEMBERED + STEP, copied, Random(0))
    with Peak() as peak:
        began = process_time()
        memory = QuestionMemory(texts[:REMEMBERED], MemoryConfig(weight=1.0), RepetitionConfig())
        built = process_time() - began
        found = sum(value > 0 for value in memory.similarities(texts[REMEMBERED:]))
    seconds = alternate(repeats, {"ours": lambda: memory.similarities(texts[REMEMBERED:])})["ours"]
    return Row(REMEMBERED, STEP, copied, built, peak.nbytes, seconds / STEP * 1e6, found)
