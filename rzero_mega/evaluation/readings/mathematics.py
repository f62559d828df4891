r"""Mathematics: the answer in the last \boxed{}, judged by the grader."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rzero_mega.evaluation.problem import Problem
from rzero_mega.grading.text.extraction import extract_answer
from rzero_mega.grading.workers.pool import GradingPool


class Mathematics:
    """The boxed answer, right if the grader takes it for any of the right ones."""

    def prompt(self, problem: Problem) -> str:
        return problem.question

    def prediction(self, response: str, problem: Problem) -> str | None:
        return extract_answer(response)

    def verdicts(self, predictions: Sequence[tuple[str, Problem]], grader: GradingPool) -> list[bool]:
        pairs = [
            (number, prediction, answer)
            for number, (prediction, problem) in enumerate(predictions)
            for answer in problem.answers
        ]
        verdicts = grader.equivalent_pairs([(prediction, answer) for _, prediction, answer in pairs])
        equal = zip((number for number, _, _ in pairs), (verdict.equal for verdict in verdicts), strict=True)
        return [any(right for _, right in group) for _, group in groupby(equal, key=lambda entry: entry[0])]

    def classes(self, groups: Sequence[Sequence[str | None]], grader: GradingPool) -> list[list[int | None]]:
        return grader.equivalence_classes(groups)
