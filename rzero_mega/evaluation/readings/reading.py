"""What every way of reading offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rzero_mega.evaluation.problem import Problem
from rzero_mega.grading.workers.pool import GradingPool


class Reading(Protocol):
    """Finds what a response answers, and judges it."""

    def prompt(self, problem: Problem) -> str:
        """The question as it is asked: with its options, if any, and what form the answer should have."""
        ...

    def prediction(self, response: str, problem: Problem) -> str | None:
        """What a response answers; None if it answers nothing."""
        ...

    def verdicts(self, predictions: Sequence[tuple[str, Problem]], grader: GradingPool) -> list[bool]:
        """Whether each prediction is right."""
        ...

    def classes(self, groups: Sequence[Sequence[str | None]], grader: GradingPool) -> list[list[int | None]]:
        """The class of each prediction of a problem among its others, for votes; None has none."""
        ...


def classes_of_same(groups: Sequence[Sequence[str | None]]) -> list[list[int | None]]:
    """Classes of predictions that are the same text, numbered in the order of their first appearance."""
    found = []
    for group in groups:
        numbers: dict[str, int] = {}
        found.append([None if text is None else numbers.setdefault(text, len(numbers)) for text in group])
    return found
