"""Answers of a domain in which they have scores, judged by the quality that no role learns of."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.domains.problem import Problem
from rzero_mega.grading.grader import Grader, classes_of_same


class OfQuality:
    """The answer as the domain reads it, worth its quality; right if nothing is wrong with it."""

    def __init__(self, answers: ScoredAnswers) -> None:
        self._answers = answers

    def prompt(self, problem: Problem) -> str:
        return problem.question

    def prediction(self, response: str, problem: Problem) -> str | None:
        return self._answers.read(response)

    def qualities(self, predictions: Sequence[tuple[str, Problem]]) -> list[float]:
        """What each prediction is worth, from 0 to 1; 0 of a question for which the domain can't tell."""
        quality = self._answers.quality
        if quality is None:
            raise ValueError("the domain computes no quality")
        return [quality(problem.question, prediction) or 0.0 for prediction, problem in predictions]

    def verdicts(self, predictions: Sequence[tuple[str, Problem]], grader: Grader) -> list[bool]:
        return [quality == 1.0 for quality in self.qualities(predictions)]

    def classes(self, groups: Sequence[Sequence[str | None]], grader: Grader) -> list[list[int | None]]:
        return classes_of_same(groups)
