"""What a model makes of one problem: a row of scores.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rzero_mega.records import bounded, field, optional_field, typed


@dataclass(frozen=True)
class ProblemScore:
    """A row of scores.jsonl: a problem, and what a model makes of it.

    `mean` is the share of right samples, of answers that have a quality the mean of that; `greedy` is the greedy
    answer's verdict, `vote` that of the samples' majority; None where nothing of the kind was drawn. `score` is the
    problem's value: `mean`, or the greedy answer's without samples.
    """

    benchmark: str
    level: str
    question: str
    answers: tuple[str, ...]
    score: float
    mean: float | None
    greedy: bool | None
    vote: bool | None

    def as_json(self) -> dict[str, Any]:
        """A row."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ProblemScore:
        """The score of a row. KeyError, TypeError or ValueError if it is malformed."""
        mean = optional_field(row, "mean", float)
        return cls(
            field(row, "benchmark", str),
            field(row, "level", str),
            field(row, "question", str),
            tuple(typed(answer, str, "answers") for answer in field(row, "answers", list)),
            bounded(field(row, "score", float), "score", 0.0, 1.0),
            None if mean is None else bounded(mean, "mean", 0.0, 1.0),
            optional_field(row, "greedy", bool),
            optional_field(row, "vote", bool),
        )
