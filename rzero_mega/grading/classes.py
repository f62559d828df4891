"""The answers to a question grouped into classes of equal answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import TypeAlias

from rzero_mega.grading.answer import read_answer
from rzero_mega.grading.comparison import compare_cheaply

Pair: TypeAlias = tuple[str, str]


def equivalence_classes(
    answers_per_question: Sequence[Sequence[str | None]], decide: Callable[[Sequence[Pair]], Sequence[bool]]
) -> list[list[int | None]]:
    """Return a class number per answer of each question; None, an answer that isn't there, has none.

    Answers share a class if a chain of equal pairs joins them, so the grouping doesn't depend on their order.
    Classes are numbered from 0 in order of first appearance. `decide` says which pairs are equal; it is called once,
    with the pairs of all questions that cheap evidence leaves open.
    """
    groupings = [_Grouping(answers) for answers in answers_per_question]
    doubtful: list[tuple[_Grouping, Pair]] = []
    for grouping in groupings:
        for pair in grouping.pairs():
            verdict = compare_cheaply(read_answer(pair[0]), read_answer(pair[1]))
            if verdict is None:
                doubtful.append((grouping, pair))
            elif verdict[0]:
                grouping.join(*pair)
    doubtful = [(grouping, pair) for grouping, pair in doubtful if not grouping.joined(*pair)]
    for (grouping, pair), equal in zip(doubtful, decide([pair for _, pair in doubtful]), strict=True):
        if equal:
            grouping.join(*pair)
    return [grouping.classes() for grouping in groupings]


class _Grouping:
    """The answers to one question, joined into classes (union-find over one representative per spelling)."""

    def __init__(self, answers: Sequence[str | None]) -> None:
        self._answers = answers
        spellings: dict[tuple[str, str], str] = {}
        for text in sorted({answer for answer in answers if answer is not None}):
            answer = read_answer(text)
            spellings.setdefault((answer.key, answer.unit), text)
        self._spellings = spellings
        self._parent = {text: text for text in spellings.values()}

    def pairs(self) -> Iterator[Pair]:
        """Yield all pairs of representatives."""
        return combinations(self._parent, 2)

    def _root(self, text: str) -> str:
        while self._parent[text] != text:
            text = self._parent[text]
        return text

    def join(self, a: str, b: str) -> None:
        """Put the classes of two representatives together."""
        first, second = sorted((self._root(a), self._root(b)))
        self._parent[second] = first

    def joined(self, a: str, b: str) -> bool:
        """Whether two representatives are in one class."""
        return self._root(a) == self._root(b)

    def classes(self) -> list[int | None]:
        """Return the class number of each answer."""
        numbers: dict[str, int] = {}
        classes: list[int | None] = []
        for text in self._answers:
            if text is None:
                classes.append(None)
                continue
            answer = read_answer(text)
            root = self._root(self._spellings[answer.key, answer.unit])
            classes.append(numbers.setdefault(root, len(numbers)))
        return classes
