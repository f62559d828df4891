"""Rows of words: how a task and its answer are read, what an answer is worth, and which tasks are measured on.

A task is a row of words, `cat dog ant dog`. It is to be written again with the same words, each once, in the order of
the alphabet, and no longer than that takes: `ant cat dog`. None of these is a must, so that an answer is better or
worse; how good it is can be computed exactly. Everything here is pure, and every random draw comes from the caller's
``random.Random``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from string import ascii_lowercase

MOST_WORDS, LONGEST_WORD = 8, 4
"""Of a task; the latter in letters."""

_WORD = f"[a-z]{{1,{LONGEST_WORD}}}"
_TASK = re.compile(f"{_WORD}(?: {_WORD}){{1,{MOST_WORDS - 1}}}")
_ANSWER = re.compile(r"[a-z]+(?: [a-z]+)*")
_LONGEST_ANSWER = 100


@dataclass(frozen=True, slots=True)
class Shape:
    """How many words a task has, and how many of them are there before."""

    words: int
    repeated: int


LEVELS: dict[int, Shape] = {1: Shape(3, 0), 2: Shape(4, 1), 3: Shape(6, 2), 4: Shape(8, 3)}
"""The levels of tasks that models are measured on."""


def is_task(text: str) -> bool:
    """Whether the text is a row of 2 to 8 words of 1 to 4 small letters, with a space between two of them."""
    return _TASK.fullmatch(text) is not None


def read_row(text: str) -> str | None:
    """The row of words that a finished response is, whatever space is around it; None if it is anything else."""
    row = text.strip()
    return row if len(row) <= _LONGEST_ANSWER and _ANSWER.fullmatch(row) else None


def brevity(question: str, answer: str) -> float:
    """How much of the question's length the answer does without: 0 if it is as long, towards 1 if it is short."""
    return max(0.0, 1.0 - len(answer) / len(question)) if question else 0.0


def quality(question: str, answer: str) -> float | None:
    """What an answer is worth, from 0 to 1: the share of words that are kept, times the mean of three others.

    Kept: of all words in either, those in both. The others: of the answer's words, those that are different; of its
    neighbours, those in the order of the alphabet; the length of the best answer over its own, if that is more. None of
    what is no task.
    """
    if not is_task(question) or not answer.split():
        return None
    asked, given = set(question.split()), answer.split()
    kept = len(asked & set(given)) / len(asked | set(given))
    different = len(set(given)) / len(given)
    neighbours = list(pairwise(given))
    ordered = sum(one <= other for one, other in neighbours) / len(neighbours) if neighbours else 1.0
    short = min(1.0, len(best(question)) / len(answer))
    return kept * (different + ordered + short) / 3


def best(question: str) -> str:
    """The answer with nothing wrong."""
    return " ".join(sorted(set(question.split())))


def random_task(shape: Shape, rng: Random) -> str:
    """A task of this shape."""
    different: list[str] = []
    while len(different) < shape.words - shape.repeated:
        word = "".join(rng.choices(ascii_lowercase, k=rng.randint(2, LONGEST_WORD)))
        if word not in different:
            different.append(word)
    words = [*different, *rng.choices(different, k=shape.repeated)]
    rng.shuffle(words)
    return " ".join(words)


def measured_tasks(per_level: int) -> Iterator[tuple[int, str]]:
    """(level, task), always the same ones, the first `per_level` of each level."""
    for level, shape in LEVELS.items():
        rng = Random(f"rewriting level {level}")
        yield from ((level, random_task(shape, rng)) for _ in range(per_level))
