"""What a Solver's answers to a fixed set of questions tell about its labels without any truth.

A Solver that is trained on its own majority grows sure of its errors. Then its majority leaves the base's where p̂ is in
the band, its answers to a question become one, and its greedy answer becomes its vote, whether or not they are right.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from statistics import fmean
from typing import Any

from rzero_mega.coevolution.band import in_band
from rzero_mega.coevolution.question_key import question_key
from rzero_mega.coevolution.records import LabelledQuestion
from rzero_mega.coevolution.votes import majority_vote
from rzero_mega.config.schema import CurationConfig
from rzero_mega.records import bounded, field, optional_bounded

_COUNTS = ("questions", "in_band")
_NATS = ("entropy",)


@dataclass(frozen=True)
class GaugeAnswers:
    """What is said to a question, as classes of equal answers; None stands for no answer, and for no known truth.

    `samples` and `greedy` are the Solver's, `base` the majority of the base model.
    """

    samples: tuple[int | None, ...]
    greedy: int | None
    base: int | None
    truth: int | None


@dataclass(frozen=True)
class Gauges:
    """Of a model's answers to the fixed set; a figure without a question to take it from is None.

    `agreement` is the share of majorities that equal the base's, `agreement_in_band` that of questions whose p̂ is in
    the band, of which there are `in_band`; `greedy_agreement` the share of greedy answers that equal the majority.
    `entropy` [nats] of the answers to a question and `p_hat` are means. The accuracies are for the report alone, of
    questions whose truth can be computed.
    """

    questions: int
    in_band: int
    agreement: float | None
    agreement_in_band: float | None
    greedy_agreement: float | None
    entropy: float | None
    p_hat: float | None
    vote_accuracy: float | None = None
    vote_accuracy_in_band: float | None = None
    greedy_accuracy: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The object of a summary."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Gauges:
        """Checked; see `Record`."""
        counts = {name: int(bounded(field(row, name, int), name, 0)) for name in _COUNTS}
        others = [spec.name for spec in fields(cls) if spec.name not in _COUNTS]
        return cls(**counts, **{name: _figure(row, name) for name in others})  # type: ignore[arg-type]


def fixed_set(labelled: Iterable[LabelledQuestion], count: int) -> list[LabelledQuestion]:
    """The first `count` questions that differ in more than whitespace."""
    found: dict[str, LabelledQuestion] = {}
    for question in labelled:
        if len(found) == count:
            break
        found.setdefault(question_key(question.answered.question.text), question)
    return list(found.values())


def gauges_of(answers: Sequence[GaugeAnswers], curation: CurationConfig, greedy: bool = True) -> Gauges:
    """The gauges of a model's answers; `greedy` says whether it was asked greedily too."""
    votes = [majority(one.samples) for one in answers]
    banded = [in_band(share, curation) for _, share in votes]
    voted = [(one, label) for one, (label, _) in zip(answers, votes, strict=True)]
    # A question that the base has no answer to tells nothing about who has left it.
    agree = [None if one.base is None else label == one.base for one, label in voted]
    right = [None if one.truth is None else label == one.truth for one, label in voted]
    certain = [None if label is None else one.greedy == label for one, label in voted]
    return Gauges(
        questions=len(answers),
        in_band=sum(banded),
        agreement=_share(agree),
        agreement_in_band=_share(_only(agree, banded)),
        greedy_agreement=_share(certain) if greedy else None,
        entropy=fmean(_entropy(one.samples) for one in answers) if answers else None,
        p_hat=float(fmean(share for _, share in votes)) if votes else None,
        vote_accuracy=_share(right),
        vote_accuracy_in_band=_share(_only(right, banded)),
        greedy_accuracy=_share(None if one.truth is None else one.greedy == one.truth for one in answers)
        if greedy
        else None,
    )


def majority(classes: Sequence[int | None]) -> tuple[int | None, Fraction]:
    """The class of the majority, and p̂; a sample without an answer counts in the denominator."""
    vote = majority_vote(classes, [None if found is None else str(found) for found in classes])
    return None if vote.answer is None else int(vote.answer), Fraction(vote.count, vote.samples)


def _entropy(classes: Sequence[int | None]) -> float:
    """Of the answers, [nats]; having none is an answer too."""
    shares = [count / len(classes) for count in Counter(classes).values()]
    return -sum(share * math.log(share) for share in shares)


def _only(values: Sequence[bool | None], wanted: Sequence[bool]) -> list[bool | None]:
    return [value for value, is_wanted in zip(values, wanted, strict=True) if is_wanted]


def _share(values: Iterable[bool | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _figure(row: Mapping[str, Any], name: str) -> float | None:
    return optional_bounded(row, name, 0, math.inf if name in _NATS else 1)
