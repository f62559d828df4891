"""Questions whose answers have scores in place of votes: the records of such a domain, and what the scores tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, pstdev
from typing import Any

from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.records import bounded, field, optional_bounded, optional_field, typed


def spread(scores: Sequence[float]) -> float:
    """Twice the standard deviation: 0 where all are equal, 1 where half of them are 0 and half are 1."""
    return 2.0 * pstdev(scores)


def shortfall(scores: Sequence[float]) -> float:
    """1 - mean: what the answers lack (J-Zero, arXiv 2608.26582)."""
    return 1.0 - fmean(scores)


def one_scorer(scorers: Iterable[str | None]) -> str | None:
    """Whose scores are put together; ValueError if they are of more than one.

    Scores of two Critics have nothing in common, neither a zero nor a unit.
    """
    found = sorted({scorer or "the domain" for scorer in scorers})
    if len(found) > 1:
        raise ValueError(f"scores of {' and '.join(found)} can't be put together")
    return None if found in ([], ["the domain"]) else found[0]


@dataclass(frozen=True)
class ScoredQuestion:
    """scored.jsonl: a question, the Solver's answers to it by sample index, and why curation dropped it (None: kept).

    An answer is None where a sample gave none, and its score is 0. `qualities` are what the answers are really worth,
    for audits alone: 0 where there is no answer, None where the domain can't tell. `tokens` counts those of all
    samples, `cut_off` the samples that did not end by themselves. `scorer` is the Critic that the scores are of, None
    where they are the domain's own.
    """

    question: WrittenQuestion
    answers: tuple[str | None, ...]
    scores: tuple[float, ...]
    qualities: tuple[float | None, ...]
    tokens: int
    cut_off: int
    dropped: str | None = None
    scorer: str | None = None

    @property
    def kept(self) -> bool:
        """Whether the Solver may train on it."""
        return self.dropped is None

    @property
    def unanswered(self) -> int:
        """How many samples gave no answer."""
        return sum(answer is None for answer in self.answers)

    @property
    def quality(self) -> float | None:
        """The mean over the samples of which it is known."""
        known = [quality for quality in self.qualities if quality is not None]
        return fmean(known) if known else None

    def as_json(self) -> dict[str, Any]:
        """The row of the file. `score`, `spread` and `kept` are there for readers of the file."""
        return {
            **self.question.as_json(),
            "score": fmean(self.scores),
            "spread": spread(self.scores),
            "answers": list(self.answers),
            "scores": list(self.scores),
            "qualities": list(self.qualities),
            "cut_off": self.cut_off,
            "tokens": self.tokens,
            "kept": self.kept,
            "dropped": self.dropped,
            **({} if self.scorer is None else {"scorer": self.scorer}),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ScoredQuestion:
        """Checked; see `Record`."""
        answers = tuple(None if a is None else typed(a, str, "answers") for a in field(row, "answers", list))
        scores = tuple(bounded(typed(score, float, "scores"), "scores", 0, 1) for score in field(row, "scores", list))
        qualities = tuple(
            optional_bounded({"qualities": quality}, "qualities", 0, 1) for quality in field(row, "qualities", list)
        )
        if not answers or not len(answers) == len(scores) == len(qualities):
            raise ValueError(f"{len(answers)} answers, {len(scores)} scores and {len(qualities)} qualities")
        counts = field(row, "tokens", int), field(row, "cut_off", int)
        dropped, scorer = optional_field(row, "dropped", str), optional_field({"scorer": None, **row}, "scorer", str)
        return cls(WrittenQuestion.from_json(row), answers, scores, qualities, *counts, dropped, scorer)


@dataclass(frozen=True)
class UnlabelledQuestion:
    """dataset.jsonl of a domain of scored answers: a question that the Solver trains on."""

    question: str

    def as_json(self) -> dict[str, Any]:
        """The row of the file."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> UnlabelledQuestion:
        """Checked; see `Record`. A row of a labelled data set is one, too."""
        return cls(field(row, "question", str))
