"""Questions with options: the answer is a letter."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.domains.problem import Problem
from rzero_mega.evaluation.choices import extract_choice, letters
from rzero_mega.grading.grader import Grader, classes_of_same


class Choices:
    """The letter that a response settles on, against the right one."""

    def prompt(self, problem: Problem) -> str:
        options = "\n".join(
            f"{letter}. {option}" for letter, option in zip(letters(problem.options), problem.options, strict=True)
        )
        return f"{problem.question}\n\n{options}\n\nAnswer with the letter of the right option."

    def prediction(self, response: str, problem: Problem) -> str | None:
        return extract_choice(response, problem.options)

    def verdicts(self, predictions: Sequence[tuple[str, Problem]], grader: Grader) -> list[bool]:
        return [prediction in problem.answers for prediction, problem in predictions]

    def classes(self, groups: Sequence[Sequence[str | None]], grader: Grader) -> list[list[int | None]]:
        return classes_of_same(groups)
