"""A row of words asked in halves: each is written again for itself, and the two are merged."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import merge

from rzero_mega.domains.domain import Decomposition
from rzero_mega.domains.rewriting.rows import is_task, read_row


def halves(question: str) -> tuple[str, ...]:
    """The first half of the words, of an odd number one more, and the rest; none where one of them is no task."""
    words = question.split()
    middle = (len(words) + 1) // 2
    found = " ".join(words[:middle]), " ".join(words[middle:])
    return found if all(map(is_task, found)) else ()


def merged(answers: Sequence[str]) -> str | None:
    """Of the words at the fronts of the rows always the one that is first in the alphabet, each word once.

    Rows in order make one in order, and others none that is; None of what is too long to be an answer.
    """
    return read_row(" ".join(dict.fromkeys(merge(*(answer.split() for answer in answers)))))


HALVES = Decomposition(halves, merged)
