"""The answers to one question grouped into classes of equal answers.

Equality of answers as `comparison` has it is not transitive, because an answer may leave something out: "5" agrees with
"5 cm" and with "5 m", which differ. So classes are made in two steps, neither of which depends on the order of the
answers:

1. Answers that say as much as each other and are equal share a class, and so does whatever a chain of such pairs joins:
   there equality is transitive, and a pair that could not be decided in time does no harm.
2. Of two such classes that agree where one leaves something out, each joins the other, unless it is ambiguous: unless
   it agrees with two classes that don't agree with each other. An ambiguous class stays by itself.

What is left after step 2 without the ambiguous ones is a graph in which no path of two edges lacks its third, so that
within a class all agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import TypeAlias

from rzero_mega.grading.answers.answer import read_answer
from rzero_mega.grading.answers.comparison import compare_cheaply, says_as_much
from rzero_mega.grading.expressions.tree import Unit

Pair: TypeAlias = tuple[str, str]


def equivalence_classes(
    answers_per_question: Sequence[Sequence[str | None]], decide: Callable[[Sequence[Pair]], Sequence[bool]]
) -> list[list[int | None]]:
    """Return a class number per answer of each question; None, an answer that isn't there, has none.

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
                grouping.agree(*pair)
    doubtful = [(grouping, pair) for grouping, pair in doubtful if not grouping.joined(*pair)]
    for (grouping, pair), equal in zip(doubtful, decide([pair for _, pair in doubtful]), strict=True):
        if equal:
            grouping.agree(*pair)
    return [grouping.classes() for grouping in groupings]


class _Grouping:
    """The answers to one question, joined into classes (union-find over one representative per spelling)."""

    def __init__(self, answers: Sequence[str | None]) -> None:
        self._answers = answers
        spellings: dict[tuple[str, Unit | None], str] = {}
        for text in sorted({answer for answer in answers if answer is not None}):
            answer = read_answer(text)
            spellings.setdefault((answer.key, answer.unit), text)
        self._spellings = spellings
        self._parent = {text: text for text in spellings.values()}
        self._partial: list[Pair] = []  # equal, but one of the two leaves something out

    def pairs(self) -> Iterator[Pair]:
        """Yield all pairs of representatives."""
        return combinations(self._parent, 2)

    def agree(self, a: str, b: str) -> None:
        """Take note that two representatives are equal."""
        if says_as_much(read_answer(a), read_answer(b)):
            self._join(a, b)
        else:
            self._partial.append((a, b))

    def joined(self, a: str, b: str) -> bool:
        """Whether two representatives are in one class already."""
        return self._root(a) == self._root(b)

    def classes(self) -> list[int | None]:
        """Return the class number of each answer, once all pairs that are equal have been told to `agree`."""
        self._join_unambiguous()
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

    def _join_unambiguous(self) -> None:
        neighbours: dict[str, set[str]] = defaultdict(set)
        for a, b in self._partial:
            first, second = self._root(a), self._root(b)
            if first != second:
                neighbours[first].add(second)
                neighbours[second].add(first)
        ambiguous = {
            root
            for root, agreeing in neighbours.items()
            if any(second not in neighbours[first] for first, second in combinations(agreeing, 2))
        }
        for root, agreeing in neighbours.items():
            for other in agreeing - ambiguous:
                if root not in ambiguous:
                    self._join(root, other)

    def _root(self, text: str) -> str:
        while self._parent[text] != text:
            text = self._parent[text]
        return text

    def _join(self, a: str, b: str) -> None:
        first, second = sorted((self._root(a), self._root(b)))
        self._parent[second] = first
