"""Answers held against each other two by two: who meets whom, who wins, and what the order of the two does to that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.records import bounded, field, optional_bounded

HALF = 0.5
"""What an answer has that wins as much as it loses, or meets nobody."""

Answered = tuple[str, str]
"""A question, and an answer to it."""

Verdicts = tuple[bool | None, bool | None]
"""On two answers in either order: whether the one that stands first is better; None where that can't be read."""


@dataclass(frozen=True)
class TwoAnswers:
    """Two answers to a question, which are compared in both orders: `one` stands first in the first of them."""

    question: str
    one: str
    other: str

    @property
    def orders(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """The answers as they stand in each."""
        return (self.one, self.other), (self.other, self.one)


def won(verdicts: Verdicts) -> float:
    """What `one` has of a comparison: 1 where both verdicts name it, 0 where both name the other, else one half."""
    if verdicts == (True, False):
        return 1.0
    return 0.0 if verdicts == (False, True) else HALF


def comparisons(answered: Iterable[Answered], opponents: int) -> list[TwoAnswers]:
    """Of each question the comparisons of its different answers, the questions in the order in which they come.

    The answers to a question stand in a ring, in an order by their hashes, and each meets the half of `opponents`, an
    even number, before it and the half after it: all others if they are no more. So who meets whom follows from which
    answers there are, whatever their order, and each meets as many.
    """
    by_question: dict[str, set[str]] = {}
    for question, answer in answered:
        by_question.setdefault(question, set()).add(answer)
    return [pair for question, answers in by_question.items() for pair in _ring(question, answers, opponents)]


def _ring(question: str, answers: Iterable[str], opponents: int) -> list[TwoAnswers]:
    ring = sorted(answers, key=lambda answer: (derive_seed("comparison", question, answer), answer))
    count, found = len(ring), list[TwoAnswers]()
    for distance in range(1, min(opponents, count) // 2 + 1):
        # Half way round, an answer meets the same one in both directions.
        starts = count // 2 if 2 * distance == count else count
        found += [TwoAnswers(question, ring[i], ring[(i + distance) % count]) for i in range(starts)]
    return found


def win_shares(answered: Sequence[Answered], compared: Sequence[TwoAnswers], wins: Sequence[float]) -> list[float]:
    """Of each answer the share of its comparisons that it wins, one half of one that has none.

    `wins` has what `one` has of each comparison, and the other has the rest.
    """
    found = defaultdict[Answered, list[float]](list)
    for pair, share in zip(compared, wins, strict=True):
        found[pair.question, pair.one].append(share)
        found[pair.question, pair.other].append(1.0 - share)
    return [fmean(found[one]) if one in found else HALF for one in answered]


@dataclass(frozen=True)
class OrderEffects:
    """Of so many comparisons, what verdicts owe to the order of the answers: None where nothing tells.

    `position_bias` is the share of the verdicts that can be read which name the answer that stands first: one half
    where order does nothing. `agreement` is the share of comparisons in which both orders name the same answer, and
    `unread` that of verdicts that can't be read.
    """

    comparisons: int
    position_bias: float | None
    agreement: float | None
    unread: float | None

    @classmethod
    def of(cls, verdicts: Sequence[Verdicts]) -> OrderEffects:
        """From both verdicts of each comparison."""
        said = [verdict for both in verdicts for verdict in both]
        read = [verdict for verdict in said if verdict is not None]
        return cls(
            len(verdicts),
            sum(read) / len(read) if read else None,
            sum(won(both) != HALF for both in verdicts) / len(verdicts) if verdicts else None,
            1.0 - len(read) / len(said) if said else None,
        )

    def as_json(self) -> dict[str, Any]:
        """The object of a summary."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> OrderEffects:
        """Checked; see `Record`."""
        shares = (optional_bounded(row, name, 0, 1) for name in ("position_bias", "agreement", "unread"))
        return cls(bounded(field(row, "comparisons", int), "comparisons", 0), *shares)
