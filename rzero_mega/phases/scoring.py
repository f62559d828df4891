"""The Solver's answers with their scores, where a domain has these in place of right and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rzero_mega import spmd
from rzero_mega.coevolution.records import Answers, WrittenQuestion
from rzero_mega.coevolution.scores import ScoredQuestion
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.tracking.label_costs import LabelCost


class Scorer(Protocol):
    """Whose scores answers are rewarded by. All that is rewarded goes through one. For all ranks."""

    @property
    def name(self) -> str | None:
        """Which Critic it is; None of the domain itself. Scores of different names are never put together."""
        ...

    @property
    def cost(self) -> LabelCost | None:
        """What models wrote for the scores so far, on rank 0; None where none writes any."""
        ...

    def scores(self, given: Sequence[tuple[str, str | None]]) -> list[float]:
        """Of each (question, answer), from 0 to 1; 0 without an answer. The same on every rank."""
        ...


class DomainScorer:
    """The domain's own score."""

    name = cost = None

    def __init__(self, domain: ScoredAnswers) -> None:
        self._domain = domain

    def scores(self, given: Sequence[tuple[str, str | None]]) -> list[float]:
        """The first rank asks the domain. ValueError for what a domain calls a score and is none."""
        return spmd.on_rank_0(self._scores, given)

    def _scores(self, given: Sequence[tuple[str, str | None]]) -> list[float]:
        return [0.0 if answer is None else _share(self._domain.score(question, answer)) for question, answer in given]


def scored_questions(
    scorer: Scorer, domain: ScoredAnswers, questions: Sequence[WrittenQuestion], answers: Sequence[Answers]
) -> list[ScoredQuestion]:
    """Each question with the answers to it, their scores, and for audits what they are really worth. For all ranks."""
    said = [(one.text, answer) for one, given in zip(questions, answers, strict=True) for answer in given.answers]
    scores = iter(scorer.scores(said))
    qualities = iter(spmd.on_rank_0(lambda: [quality_of(domain, *one) for one in said]))
    return [
        ScoredQuestion(
            question,
            given.answers,
            tuple(next(scores) for _ in given.answers),
            tuple(next(qualities) for _ in given.answers),
            given.tokens,
            given.cut_off,
            scorer=scorer.name,
        )
        for question, given in zip(questions, answers, strict=True)
    ]


def quality_of(domain: ScoredAnswers, question: str, answer: str | None) -> float | None:
    """What an answer is really worth, 0 for none; None where the domain can't tell."""
    if domain.quality is None:
        return None
    found = 0.0 if answer is None else domain.quality(question, answer)
    return None if found is None else _share(found)


def _share(value: float) -> float:
    """ValueError for what a domain calls a score or a quality and is none."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a domain's score or quality is {value}, and not between 0 and 1")
    return float(value)
