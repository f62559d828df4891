"""What every way of reading offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rzero_mega.domains.problem import Problem
from rzero_mega.grading.grader import Grader


class Reading(Protocol):
    """Finds what a response answers, and judges it."""

    def prompt(self, problem: Problem) -> str:
        """The question as it is asked: with its options, if any, and what form the answer should have."""
        ...

    def prediction(self, response: str, problem: Problem) -> str | None:
        """What a response answers; None if it answers nothing."""
        ...

    def verdicts(self, predictions: Sequence[tuple[str, Problem]], grader: Grader) -> list[bool]:
        """Whether each prediction is right."""
        ...

    def classes(self, groups: Sequence[Sequence[str | None]], grader: Grader) -> list[list[int | None]]:
        """The class of each prediction of a problem among its others, for votes; None has none."""
        ...
