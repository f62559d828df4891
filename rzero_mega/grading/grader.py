"""What every grader offers, and one for answers that are texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Protocol

from rzero_mega.grading.answers.comparison import How
from rzero_mega.grading.workers.pool import GradingStats, Verdict


class Grader(Protocol):
    """Says which answers are equal. A context manager; what it starts, it starts when it is first asked."""

    def __enter__(self) -> Grader: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """End what was started."""
        ...

    @property
    def stats(self) -> GradingStats:
        """Totals so far."""
        ...

    def equivalent_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """One verdict per pair, in order. Nothing equals the empty text."""
        ...

    def equivalence_classes(self, answers_per_question: Sequence[Sequence[str | None]]) -> list[list[int | None]]:
        """A class number per answer of each question, from 0 in order of first appearance; None of one not there."""
        ...


class TextGrader:
    """Answers are equal whose normal forms are the same text. Needs no process of its own, and no configuration."""

    def __init__(self, normal_form: Callable[[str], str]) -> None:
        """`normal_form` takes whatever a model wrote, in linear time; it raises nothing."""
        self._normal_form = normal_form
        self._stats = GradingStats()

    def __enter__(self) -> TextGrader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """There is nothing to end."""

    @property
    def stats(self) -> GradingStats:
        return self._stats

    def equivalent_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        graded = self._stats.graded + len(pairs)
        self._stats = replace(self._stats, graded=graded, cheap=graded)
        return [Verdict(a != "" and self._normal_form(a) == self._normal_form(b), How.TEXT) for a, b in pairs]

    def equivalence_classes(self, answers_per_question: Sequence[Sequence[str | None]]) -> list[list[int | None]]:
        return classes_of_same(
            [[None if text is None else self._normal_form(text) for text in group] for group in answers_per_question]
        )


def classes_of_same(groups: Sequence[Sequence[str | None]]) -> list[list[int | None]]:
    """Classes of answers that are the same text, numbered in the order of their first appearance."""
    found = []
    for group in groups:
        numbers: dict[str, int] = {}
        found.append([None if text is None else numbers.setdefault(text, len(numbers)) for text in group])
    return found
