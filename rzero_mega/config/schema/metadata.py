"""Fields with what is checked about their values: `validate.py` reads it, and `explain.py` prints it."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def choice(default: str, *others: str) -> Any:
    """A string field that takes its default or one of `others`."""
    return field(default=default, metadata={"choices": (default, *others)})


def number(default: float | int | None, minimum: float | None = None, maximum: float | None = None) -> Any:
    """A numeric field with inclusive bounds."""
    return field(default=default, metadata={"minimum": minimum, "maximum": maximum})


def check(label: str) -> Any:
    """A switch of a check, off by default; `label` is what the report calls the flaw."""
    return field(default=False, metadata={"label": label})
