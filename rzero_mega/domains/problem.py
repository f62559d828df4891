"""A question with a known answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """A question, the answers that are right, the level that it is reported under, and its options if it has any.

    Where there are options, the one right answer is a letter.
    """

    question: str
    answers: tuple[str, ...]
    level: str = "all"
    options: tuple[str, ...] = ()
