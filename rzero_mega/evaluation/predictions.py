"""What a model said to a problem, and what that was taken for: the rows of predictions.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rzero_mega.records import bounded, field, optional_field

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
    """What a response answers, None if nothing, and whether that is right."""

    prediction: str | None
    right: bool


@dataclass(frozen=True)
class Prediction:
    """A row of predictions.jsonl: a response, and what it was taken for."""

    response: Response
    judgement: Judgement

    def as_json(self) -> dict[str, Any]:
        """A row."""
        judged = {"prediction": self.judgement.prediction, "right": self.judgement.right}
        return {**self.response.as_json(), **judged}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Prediction:
        """KeyError, TypeError or ValueError if the row is malformed."""
        judgement = Judgement(optional_field(row, "prediction", str), field(row, "right", bool))
        return cls(Response.from_json(row), judgement)
