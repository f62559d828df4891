"""What a label is expected to teach: it has to be right, and the Solver unsure of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rzero_mega.coevolution.confidence import label_confidence
from rzero_mega.coevolution.curation import Ranking
from rzero_mega.coevolution.panel import solver_votes
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config.schema import LabelsConfig


@dataclass(frozen=True)
class Opinion:
    """How likely a label is right, and how much it counts in training; None where all count alike."""

    confidence: float
    weight: float | None


@dataclass(frozen=True)
class Weighing:
    """An opinion of every vote of an iteration, and how questions are chosen by them; None where the band chooses."""

    opinions: tuple[Opinion, ...]
    ranking: Ranking | None


def weigh(votes: Sequence[Vote], labels: LabelsConfig) -> Weighing | None:
    """By `labels.selection` and `labels.weighting`; None where neither asks how likely labels are right."""
    ranks, weights = labels.selection == "teaching_value", labels.weighting == "confidence"
    if not (ranks or weights):
        return None
    confidence, teaching = label_confidence(votes), labels.teaching
    counted = label_weights(confidence, teaching.cost) if weights else [None] * len(votes)
    return Weighing(
        tuple(Opinion(r, weight) for r, weight in zip(confidence, counted, strict=True)),
        Ranking(teaching_values(votes, confidence, teaching.cost), teaching.share) if ranks else None,
    )


def teaching_values(votes: Sequence[Vote], confidence: Sequence[float], cost: float) -> list[float]:
    """signal * (r - cost (1 - r)) of every vote of a panel: below 0 where a label is expected to do harm.

    `confidence` has r, the probability that the label is right; `cost` is that of a wrong label, in units of what a
    right one brings.
    """
    return [_signal(vote) * _net(r, cost) for vote, r in zip(votes, confidence, strict=True)]


def label_weights(confidence: Sequence[float], cost: float) -> list[float]:
    """max(0, r - cost (1 - r)) of every label, rounded to four places so that rows of data sets stay short."""
    return [round(max(0.0, _net(r, cost)), 4) for r in confidence]


def _net(confidence: float, cost: float) -> float:
    return confidence - cost * (1.0 - confidence)


def _signal(vote: Vote) -> float:
    """The expectation of 4 p (1 - p), the variance of the Solver's reward, after n of its m votes were for the label.

    Under Jeffreys' prior, by which 0 of 5 does not mean never.
    """
    own = solver_votes(vote)
    if own is None or vote.answer is None:
        return 0.0
    n, m = own.count, own.samples
    return 4 * (n + 0.5) * (m - n + 0.5) / ((m + 1) * (m + 2))
