"""Votes that can no longer be in the band, whatever answers are still to come."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from rzero_mega.coevolution.band import ends_of
from rzero_mega.config.schema import LabelsConfig


@dataclass(frozen=True)
class OutOfBand:
    """The rule, for votes of which a question has `samples`, all of one source, and a band of `low` to `high`.

    It relies on nothing that an answer to come can change. Answers of the same text are always of one class, so that
    the majority has no fewer votes than the most frequent text; which other texts it has depends on all answers, since
    "5 m" parts "5" from "5 cm". And no majority has more votes than there are answers.
    """

    samples: int
    low: Fraction
    high: Fraction
    silence_votes: bool

    @classmethod
    def of(cls, labels: LabelsConfig) -> OutOfBand:
        """That of the labels."""
        return cls(labels.votes.samples, *ends_of(labels.curation), labels.votes.unanswered == "answer")

    def decided(self, counts: Mapping[str | None, int]) -> bool:
        """Whether the question is out of the band, by how many samples said each text so far; None: gave no answer."""
        votes = [count for answer, count in counts.items() if answer is not None or self.silence_votes]
        answers = self.samples - (0 if self.silence_votes else counts.get(None, 0))
        return max(votes, default=0) > self.high * self.samples or answers < self.low * self.samples


class OpenVotes:
    """Votes on questions as they come, until their question is out of the band."""

    def __init__(self, rule: OutOfBand) -> None:
        """Nobody has said anything yet."""
        self._rule = rule
        self._counts = defaultdict[str, Counter[str | None]](Counter)

    def decided(self, question: str, answer: str | None) -> bool:
        """Count an answer to the question of that name; whether the question is out of the band by now."""
        self._counts[question][answer] += 1
        return self._rule.decided(self._counts[question])
