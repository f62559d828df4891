"""What a trained Critic is measured to do: how it orders known pairs, what it does to long answers, how it drifts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import correlation, fmean
from typing import Any

from rzero_mega.coevolution.comparisons import OrderEffects
from rzero_mega.coevolution.critic_pairs import RankedPair
from rzero_mega.records import bounded, field, optional_bounded, typed


def sigmoid(score: float) -> float:
    """σ(score), from 0 to 1, of any score."""
    return 0.5 * (1.0 + math.tanh(0.5 * score))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's, from -1 to 1, ties with the mean of their ranks; None where one of them doesn't vary."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return max(-1.0, min(1.0, correlation(_ranks(first), _ranks(second))))


@dataclass(frozen=True)
class Reliability:
    """Of so many pairs of a kind, how many were ordered as they are known to be; a tie counts half."""

    pairs: int
    right: float

    @property
    def share(self) -> float:
        """Share of the pairs."""
        return self.right / self.pairs

    @classmethod
    def of(cls, better: Sequence[float], worse: Sequence[float]) -> Reliability:
        """From the scores of both answers of each pair."""
        return cls(len(better), sum((b > w) + 0.5 * (b == w) for b, w in zip(better, worse, strict=True)))

    def as_json(self) -> dict[str, Any]:
        """The object of a summary; the share is there for readers."""
        return {**vars(self), "share": self.share}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Reliability:
        """Checked; see `Record`."""
        pairs = bounded(field(row, "pairs", int), "pairs", 1)
        return cls(pairs, bounded(float(row["right"]), "right", 0, pairs))


@dataclass(frozen=True)
class LengthBias:
    """What length, in characters, does to scores of answers to one question: rank correlation, and least squares.

    `slope` is in score per character, `mean` the mean length, at which nothing is added or taken away.
    """

    correlation: float | None
    slope: float
    mean: float

    def removed(self, score: float, answer: str) -> float:
        """The score without what the length of the answer predicts."""
        return score - self.slope * (len(answer) - self.mean)

    def as_json(self) -> dict[str, Any]:
        """The object of a summary."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> LengthBias:
        """Checked; see `Record`."""
        return cls(
            optional_bounded(row, "correlation", -1, 1),
            bounded(float(row["slope"]), "slope", -math.inf, math.inf),
            bounded(float(row["mean"]), "mean", 0),
        )


def correlation_within(questions: Sequence[str], first: Sequence[float], second: Sequence[float]) -> float | None:
    """Rank correlation of two values of answers, both against their means over the answers to the same question.

    A Critic that learns from pairs has no common zero between questions.
    """
    return rank_correlation(_within(questions, first), _within(questions, second))


NO_BIAS = LengthBias(None, 0.0, 0.0)


def length_bias(answered: Sequence[tuple[str, str]], scores: Sequence[float]) -> LengthBias:
    """Of scores of (question, answer): both, scores and lengths, are taken against their means over the question."""
    if not answered:
        return NO_BIAS
    lengths = [float(len(answer)) for _, answer in answered]
    questions = [question for question, _ in answered]
    x, y = _within(questions, lengths), _within(questions, scores)
    variance = sum(value * value for value in x)
    slope = sum(a * b for a, b in zip(x, y, strict=True)) / variance if variance else 0.0
    return LengthBias(rank_correlation(x, y), slope, fmean(lengths))


@dataclass(frozen=True)
class Drift:
    """A Critic against the first one on the same answers: rank correlation of scores, and the change of the mean σ.

    There is no change of shares of won comparisons (None), which are one half on average.
    """

    correlation: float | None
    shift: float | None

    @classmethod
    def of(cls, first: Sequence[float], now: Sequence[float]) -> Drift:
        """From the scores of both."""
        return cls(rank_correlation(first, now), fmean(map(sigmoid, now)) - fmean(map(sigmoid, first)))

    @classmethod
    def of_shares(cls, first: Sequence[float], now: Sequence[float]) -> Drift:
        """From the shares of comparisons that answers win by both."""
        return cls(rank_correlation(first, now), None)

    def as_json(self) -> dict[str, Any]:
        """The object of a summary."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Drift:
        """Checked; see `Record`."""
        return cls(optional_bounded(row, "correlation", -1, 1), optional_bounded(row, "shift", -1, 1))


@dataclass(frozen=True)
class MeasuredCritic:
    """What a Critic does on pairs that it was not shown, by kind, and what the gate makes of that.

    It `takes_part`, and scores, if one kind reaches the `minimum`; a kind below `close_below` is closed. `untrained`
    are the kinds of pairs that it had but was not trained on. `quality` is the rank correlation, within questions, of
    its scores with what answers are really worth where that is known, for the report alone. `order` is of a generative
    Critic.
    """

    kinds: Mapping[str, Reliability]
    minimum: float
    length: LengthBias
    drift: Drift | None = None
    quality: float | None = None
    untrained: tuple[str, ...] = ()
    order: OrderEffects | None = None
    close_below: float = 0.0

    @property
    def closed(self) -> tuple[str, ...]:
        """The kinds that the next one isn't trained on: those below `close_below` that this one was trained on.

        How a Critic orders a kind that it was not trained on doesn't tell whether that order can be learned. So a kind
        is closed for one iteration, and then tried again.
        """
        below = (kind for kind, found in self.kinds.items() if found.share < self.close_below)
        return tuple(kind for kind in below if kind not in self.untrained)

    @property
    def takes_part(self) -> bool:
        """Whether it scores answers; otherwise the domain does."""
        return any(found.share >= self.minimum for found in self.kinds.values())

    def as_json(self) -> dict[str, Any]:
        """The object of a summary; `closed` and `takes_part` are there for readers."""
        return {
            "kinds": {kind: found.as_json() for kind, found in self.kinds.items()},
            "minimum": self.minimum,
            "close_below": self.close_below,
            "closed": list(self.closed),
            "takes_part": self.takes_part,
            "length": self.length.as_json(),
            "drift": None if self.drift is None else self.drift.as_json(),
            "quality": self.quality,
            "untrained": list(self.untrained),
            **({} if self.order is None else {"order": self.order.as_json()}),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> MeasuredCritic:
        """Checked; see `Record`."""
        kinds = {str(kind): Reliability.from_json(found) for kind, found in field(row, "kinds", dict).items()}
        drift = None if row["drift"] is None else Drift.from_json(field(row, "drift", dict))
        minimum, close_below = (bounded(float(row[name]), name, 0, 1) for name in ("minimum", "close_below"))
        length = LengthBias.from_json(field(row, "length", dict))
        untrained = tuple(typed(kind, str, "untrained") for kind in field({"untrained": [], **row}, "untrained", list))
        order = OrderEffects.from_json(field(row, "order", dict)) if "order" in row else None
        return cls(
            kinds, minimum, length, drift, optional_bounded(row, "quality", -1, 1), untrained, order, close_below
        )


def reliabilities(
    pairs: Sequence[RankedPair], better: Sequence[float], worse: Sequence[float]
) -> dict[str, Reliability]:
    """By kind, from the scores of the two answers of each pair."""
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(pair.kind, []).append(place)
    return {
        kind: Reliability.of([better[place] for place in own], [worse[place] for place in own])
        for kind, own in places.items()
    }


def _within(groups: Sequence[str], values: Sequence[float]) -> list[float]:
    """Each value less the mean of its group."""
    of_group: dict[str, list[float]] = {}
    for group, value in zip(groups, values, strict=True):
        of_group.setdefault(group, []).append(value)
    means = {group: fmean(own) for group, own in of_group.items()}
    return [value - means[group] for group, value in zip(groups, values, strict=True)]


def _ranks(values: Sequence[float]) -> list[float]:
    places: dict[float, list[int]] = {}
    for rank, place in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        places.setdefault(values[place], []).append(rank)
    return [fmean(places[value]) for value in values]
