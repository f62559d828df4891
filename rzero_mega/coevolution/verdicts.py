"""Verdicts on answers: how often an answer is accepted, how far that can be trusted, and what it does to a vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from rzero_mega.coevolution.band import ends_of
from rzero_mega.coevolution.question_key import different
from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config.schema import LabelsConfig, VerifierConfig
from rzero_mega.config.schema.verifier import DROP, WEIGH
from rzero_mega.records import bounded, field


@dataclass(frozen=True)
class Rates:
    """Of so many right and wrong answers, how many were accepted."""

    right: int
    right_accepted: int
    wrong: int
    wrong_accepted: int

    @property
    def true_accept(self) -> float | None:
        """Share of the right answers that were accepted."""
        return self.right_accepted / self.right if self.right else None

    @property
    def false_accept(self) -> float | None:
        """Share of the wrong answers that were accepted."""
        return self.wrong_accepted / self.wrong if self.wrong else None

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of the shares of right answers accepted and of wrong ones not accepted; a coin has one half."""
        if self.true_accept is None or self.false_accept is None:
            return None
        return (self.true_accept + 1 - self.false_accept) / 2

    def weight(self, share: float | None) -> float:
        """How much likelier verdicts are on a right answer than on a wrong one, where this share accepts; 1 for None.

        With t and f the rates of acceptance it is t / f for an answer that all accept, (1 - t) / (1 - f) for one that
        none does, and between these geometric. A success and a failure are added to each count, so that few answers
        make no certainty.
        """
        if share is None:
            return 1.0
        right, wrong = (self.right_accepted + 1) / (self.right + 2), (self.wrong_accepted + 1) / (self.wrong + 2)
        return float((right / wrong) ** share * ((1 - right) / (1 - wrong)) ** (1 - share))

    @classmethod
    def of(cls, right: Sequence[float | None], wrong: Sequence[float | None]) -> Rates:
        """From the share of verdicts that accept each answer; accepted is one that more than half do."""
        return cls(len(right), sum(map(is_accepted, right)), len(wrong), sum(map(is_accepted, wrong)))

    def as_json(self) -> dict[str, Any]:
        """The object of a summary; the rates are there for readers, and for charts."""
        shares = {
            "true_accept": self.true_accept,
            "false_accept": self.false_accept,
            "balanced_accuracy": self.balanced_accuracy,
        }
        return {**vars(self), **shares}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Rates:
        """Checked; see `Record`."""
        right, wrong = (bounded(field(row, name, int), name, 0) for name in ("right", "wrong"))
        accepted = bounded(field(row, "right_accepted", int), "right_accepted", 0, right)
        return cls(right, accepted, wrong, bounded(field(row, "wrong_accepted", int), "wrong_accepted", 0, wrong))


def share_accepting(verdicts: Sequence[bool | None]) -> float | None:
    """Of the verdicts that can be read, the share that accepts; None where none can."""
    read = [verdict for verdict in verdicts if verdict is not None]
    return sum(read) / len(read) if read else None


def is_accepted(share: float | None) -> bool:
    """Whether more than half of an answer's verdicts accept it; without any it is not accepted."""
    return share is not None and share > 0.5


def candidates(voted: Sequence[VotedQuestion], labels: LabelsConfig, verifier: VerifierConfig) -> list[tuple[int, int]]:
    """(place of the question, place of the answer in its tally) of all answers whose verdicts may change something.

    To drop, those are labels; to weigh, all answers to a question that has several. Not looked at are repeated
    questions that are dropped as such, and those of which no answer has a share in the band, where that decides.
    """
    low, high = ends_of(labels.curation)
    banded = labels.selection == "band" and labels.curation.band_of == "all"
    first = different(item.question.text for item in voted)
    found: list[tuple[int, int]] = []
    for place in first if labels.curation.drop_duplicates else range(len(voted)):
        vote, tally = voted[place].vote, voted[place].vote.tally
        weighed = WEIGH in verifier.use and len(tally) > 1
        asked = range(len(tally)) if weighed else range(len(tally[:1]) if DROP in verifier.use else 0)
        if any(not banded or low <= Fraction(tally[rank][1], vote.samples) <= high for rank in asked):
            found += [(place, rank) for rank in asked]
    return found


def weighed(vote: Vote, weights: Sequence[float]) -> Vote:
    """The vote with the answers in the order of votes x weight, the first of them the label; ties stay as they were.

    Its count, and with it the share p, is that of the votes for the label, whatever their weight.
    """
    order = sorted(range(len(vote.tally)), key=lambda rank: -vote.tally[rank][1] * weights[rank])
    if order == list(range(len(order))):
        return vote
    tally = tuple(vote.tally[rank] for rank in order)
    by_source = []
    for source in vote.by_source:
        own = tuple(source.tally[rank] for rank in order)
        by_source.append(replace(source, count=own[0], tally=own))
    answer, count = tally[0]
    return replace(vote, answer=answer, count=count, tally=tally, by_source=tuple(by_source))


@dataclass(frozen=True)
class Measured:
    """What a trained Verifier does on pairs known in advance, and whether that lets it take part in the next labels.

    `intervals` are 95 % ones, by the names of the rates. `unread` is the share of verdicts that nobody can read,
    `audit` what it does on real votes, by the truth: for the report alone.
    """

    known: Rates
    takes_part: bool
    unread: float
    intervals: Mapping[str, tuple[float, float]]
    audit: Rates | None = None

    def as_json(self) -> dict[str, Any]:
        """The object of a summary."""
        return {
            **self.known.as_json(),
            "takes_part": self.takes_part,
            "unread": self.unread,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            **({} if self.audit is None else {"audit": self.audit.as_json()}),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Measured:
        """Checked; see `Record`."""
        rows = field(row, "intervals", dict)
        intervals = {str(name): (float(low), float(high)) for name, (low, high) in rows.items()}
        audit = Rates.from_json(field(row, "audit", dict)) if "audit" in row else None
        unread = bounded(float(row["unread"]), "unread", 0, 1)
        return cls(Rates.from_json(row), field(row, "takes_part", bool), unread, intervals, audit)
