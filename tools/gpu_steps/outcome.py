"""How a step says that it did not come to an end: what is missing, or what is wrong with what it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Unavailable(Exception):
    """What the step needs is not installed or not there; the message says what."""


class StepFailed(Exception):
    """The step ran and its figures say that something is broken; they are recorded with the message."""

    def __init__(self, message: str, figures: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.figures = figures
