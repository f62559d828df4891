"""The data sets of several iterations as one, in which every question stands once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rzero_mega.coevolution.question_key import question_key
from rzero_mega.coevolution.records import TrainingQuestion

SameAnswers = Callable[[Sequence[tuple[str, str]]], Sequence[bool]]
"""Whether the answers of each pair are equal."""


@dataclass(frozen=True)
class Accumulated:
    """Questions in the order in which they were first asked; how many others were left out for labels that differ."""

    questions: tuple[TrainingQuestion, ...]
    disputed: int


def accumulate(datasets: Iterable[Sequence[TrainingQuestion]], same: SameAnswers) -> Accumulated:
    """One data set of several. Questions are the same but for whitespace; a question has the row that was first.

    A question whose labels are not all equal to its first one is in dispute and left out: which of the iterations is
    right nothing here can tell, and rewards for both would cancel out.
    """
    labels: dict[str, list[TrainingQuestion]] = {}
    for row in (row for dataset in datasets for row in dataset):
        labels.setdefault(question_key(row.question), []).append(row)
    pairs = [(key, rows[0].answer, row.answer) for key, rows in labels.items() for row in rows[1:]]
    verdicts = same([(one, other) for _, one, other in pairs])
    disputed = {key for (key, _, _), equal in zip(pairs, verdicts, strict=True) if not equal}
    return Accumulated(tuple(rows[0] for key, rows in labels.items() if key not in disputed), len(disputed))
