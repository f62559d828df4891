"""What decides a pair of answers: each grader as a function, also by name as a task for `WorkerProcesses`."""

from __future__ import annotations

from functools import cache
from typing import Any

from rzero_mega.grading import equivalent


@cache
def _parsed(text: str) -> list[Any]:
    """As math-verify's README has it: an answer in dollar signs, LaTeX and plain expressions, its own time limits."""
    import logging

    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    logging.disable(logging.CRITICAL)  # it reports every answer that it can't read
    return list(parse(f"${text}$", [LatexExtractionConfig(), ExprExtractionConfig()]))


def math_verify(a: str, b: str) -> bool:
    """Whether math-verify takes `b` for the gold answer `a`. No text is parsed twice."""
    from math_verify import verify

    return bool(verify(_parsed(a), _parsed(b)))


def mathruler(a: str, b: str) -> bool:
    """Whether mathruler takes `b` for the gold answer `a`."""
    from mathruler.grader import grade_answer

    return bool(grade_answer(b, a))


def rzero_mega(a: str, b: str) -> bool:
    """Whether `rzero_mega.grading.equivalent` takes the two for one answer."""
    return equivalent(a, b)
