"""What a model said to a problem, and what that was taken for: the rows of predictions.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rzero_mega.records import bounded, field, optional_bounded, optional_field

FINISHED = "stop"
"""The end of a response that the model itself ended; one that was cut off answers nothing."""


@dataclass(frozen=True)
class Response:
    """To a problem, by its number in its benchmark: greedily where `sample` is None, else as that sample.

    `tokens` is its length, `finish` why it ended.
    """

    benchmark: str
    problem: int
    sample: int | None
    text: str
    tokens: int
    finish: str

    @property
    def finished(self) -> bool:
        """Whether the model ended it."""
        return self.finish == FINISHED

    @property
    def place(self) -> tuple[int, int]:
        """Among the responses of a benchmark: by problem, then by sample, the greedy one last."""
        return self.problem, 1 << 31 if self.sample is None else self.sample

    def as_json(self) -> dict[str, Any]:
        """A row."""
        return {
            "benchmark": self.benchmark,
            "problem": self.problem,
            "sample": self.sample,
            "response": self.text,
            "tokens": self.tokens,
            "finish": self.finish,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Response:
        """KeyError, TypeError or ValueError if the row is malformed."""
        sample = optional_field(row, "sample", int)
        return cls(
            field(row, "benchmark", str),
            bounded(field(row, "problem", int), "problem", 0),
            None if sample is None else bounded(sample, "sample", 0),
            field(row, "response", str),
            bounded(field(row, "tokens", int), "tokens", 0),
            field(row, "finish", str),
        )


@dataclass(frozen=True)
class Judgement:
    """What a response answers, None if nothing, and whether that is right.

    `quality` is what it is worth where answers are better or worse, from 0 to 1; then none but 1 is right.
    """

    prediction: str | None
    right: bool
    quality: float | None = None

    @property
    def worth(self) -> float:
        """What counts: the quality, or 1 for a right answer and 0 for a wrong one."""
        return float(self.right) if self.quality is None else self.quality


@dataclass(frozen=True)
class Prediction:
    """A row of predictions.jsonl: a response, and what it was taken for."""

    response: Response
    judgement: Judgement

    def as_json(self) -> dict[str, Any]:
        """A row."""
        judged = {"prediction": self.judgement.prediction, "right": self.judgement.right}
        quality = {} if self.judgement.quality is None else {"quality": self.judgement.quality}
        return {**self.response.as_json(), **judged, **quality}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Prediction:
        """KeyError, TypeError or ValueError if the row is malformed."""
        quality = optional_bounded(row, "quality", 0, 1) if "quality" in row else None
        judgement = Judgement(optional_field(row, "prediction", str), field(row, "right", bool), quality)
        return cls(Response.from_json(row), judgement)
