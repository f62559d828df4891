"""A verdict on two rows: the number of the better one, and nothing else."""

from __future__ import annotations

from rzero_mega.domains.domain import Comparison

_FIRST, _SECOND = "1", "2"


def read_verdict(text: str) -> bool | None:
    """Whether it is the first row; None of anything but one of the numbers, whatever space is around it."""
    return {_FIRST: True, _SECOND: False}.get(text.strip())


def write_verdict(first: bool) -> str:
    """The number of the better row."""
    return _FIRST if first else _SECOND


COMPARISON = Comparison(read_verdict, write_verdict)
