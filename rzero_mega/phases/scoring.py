"""The Solver's answers with their scores, where a domain has these in place of right and wrong."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.coevolution.records import Answers, WrittenQuestion
from rzero_mega.coevolution.scores import ScoredQuestion
from rzero_mega.domains.domain import ScoredAnswers


def scores_of(domain: ScoredAnswers, given: Sequence[tuple[str, str | None]]) -> list[float]:
    """The score of each (question, answer) that roles are rewarded by; 0 without an answer. ValueError as `_share`.

    All that is rewarded goes through here: a judge that learns takes the rule's place in it.
    """
    return [0.0 if answer is None else _share(domain.score(question, answer)) for question, answer in given]


def scored_questions(
    domain: ScoredAnswers, questions: Sequence[WrittenQuestion], answers: Sequence[Answers]
) -> list[ScoredQuestion]:
    """Each question with the answers to it, their scores, and for audits what they are really worth."""
    return [
        ScoredQuestion(
            question,
            given.answers,
            tuple(scores_of(domain, [(question.text, answer) for answer in given.answers])),
            tuple(quality_of(domain, question.text, answer) for answer in given.answers),
            given.tokens,
            given.cut_off,
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
