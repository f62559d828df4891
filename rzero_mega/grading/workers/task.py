"""What a worker process does with one pair. Importing this module is its warm-up, with mpmath."""

from __future__ import annotations

import mpmath  # type: ignore[import-untyped]  # noqa: F401

from rzero_mega.grading.answers.answer import read_answer
from rzero_mega.grading.answers.comparison import compare_fully


def decide(a: str, b: str) -> bool:
    """Whether two answers are equal, by every means. May take long and much memory: runs under a worker's limits."""
    first, second = read_answer(a), read_answer(b)
    if first.tree is None or second.tree is None:
        return first.key == second.key
    return compare_fully(first, second)
