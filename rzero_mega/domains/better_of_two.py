"""A verdict on two answers: the number of the better one."""

from __future__ import annotations

from rzero_mega.domains.domain import Comparison
from rzero_mega.grading import extract_answer

_FIRST, _SECOND = "1", "2"


def read_verdict(text: str) -> bool | None:
    """Whether it is the first answer: 1 or 2 in the last box, or a response that is the number and nothing else.

    None of anything else, whatever space is around it.
    """
    boxed = extract_answer(text)
    return {_FIRST: True, _SECOND: False}.get((text if boxed is None else boxed).strip())


def write_verdict(first: bool) -> str:
    """The number of the better answer, the shortest response that says so."""
    return _FIRST if first else _SECOND


COMPARISON = Comparison(read_verdict, write_verdict)
