"""What a domain's answers are, judged by its grader."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rzero_mega.domains.domain import CheckableAnswers
from rzero_mega.domains.problem import Problem
from rzero_mega.grading.grader import Grader


class OfDomain:
    """The answer as the domain reads it, right if the domain's grader takes it for any of the right ones."""

    def __init__(self, answers: CheckableAnswers) -> None:
        self._answers = answers

    def prompt(self, problem: Problem) -> str:
        return problem.question

    def prediction(self, response: str, problem: Problem) -> str | None:
        return self._answers.read(response)

    def verdicts(self, predictions: Sequence[tuple[str, Problem]], grader: Grader) -> list[bool]:
        pairs = [
            (number, prediction, answer)
            for number, (prediction, problem) in enumerate(predictions)
            for answer in problem.answers
        ]
        verdicts = grader.equivalent_pairs([(prediction, answer) for _, prediction, answer in pairs])
        equal = zip((number for number, _, _ in pairs), (verdict.equal for verdict in verdicts), strict=True)
        return [any(right for _, right in group) for _, group in groupby(equal, key=lambda entry: entry[0])]

    def classes(self, groups: Sequence[Sequence[str | None]], grader: Grader) -> list[list[int | None]]:
        return grader.equivalence_classes(groups)
