#!/usr/bin/env python
"""Seconds and memory of finding near-duplicates: questions of 35-90 words against each other and against earlier ones.

Words are drawn from 5,000 by Zipf's law, and the given share of the questions copies an earlier one but for one to
three words.
"""

from __future__ import annotations

import argparse
import resource
import time
from random import Random

from rzero_mega.coevolution.near_duplicates import find_copies

WORDS = [f"word{rank}" for rank in range(1, 5001)]
WEIGHTS = [1 / rank for rank in range(1, 5001)]


def questions(count: int, copied: float, rng: Random) -> list[str]:
    """Questions as above."""
    texts: list[list[str]] = []
    for _ in range(count):
        if texts and rng.random() < copied:
            words = list(rng.choice(texts))
            for _ in range(rng.randint(1, 3)):
                words[rng.randrange(len(words))] = str(rng.randint(1, 999))
        else:
            words = rng.choices(WORDS, WEIGHTS, k=rng.randint(35, 90))
        texts.append(words)
    return [" ".join(words) for words in texts]


def main() -> None:
    """Measure once and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8000)
    parser.add_argument("--earlier", type=int, default=24000)
    parser.add_argument("--copied", type=float, default=0.2)
    parser.add_argument("--threshold", type=float, default=0.8)
    arguments = parser.parse_args()
    texts = questions(arguments.earlier + arguments.batch, arguments.copied, Random(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, processor = time.perf_counter(), time.process_time()
    copies = find_copies(texts[arguments.earlier :], texts[: arguments.earlier], arguments.threshold)
    wall, processor = time.perf_counter() - began, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    repeated, seen = (sum(of is not None for of in found) for found in (copies.repeated, copies.seen))
    print(
        f"{arguments.batch} against each other and {arguments.earlier} earlier ones: {wall:.1f} s, "
        f"{processor:.1f} s of processor time, {peak / 1024:.0f} MB; {repeated} near-duplicates, {seen} seen before"
    )


if __name__ == "__main__":
    main()
