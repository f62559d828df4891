r"""Exact text, by the rules of BIG-Bench Extra Hard (github.com/google-deepmind/bbeh, `bbeh/evaluate.py`).

A prediction is what follows "The answer is" or "The final answer is", or else the last \boxed{}; without case,
Markdown and a full stop. It is right if it is the answer, or differs only in brackets around a letter or a list, in
apostrophes, in a question mark at its end, or in how a number is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

from rzero_mega.domains.problem import Problem
from rzero_mega.grading.grader import Grader, classes_of_same
from rzero_mega.grading.text.extraction import extract_answer

_PREFIX = re.compile(r"the (?:final )?answer is:?", re.IGNORECASE)
_WRAPPER = re.compile(r"\\(?:boxed|text|texttt|textbf|mathrm)\{(.*)\}", re.DOTALL)


class Text:
    """What a response says the answer is, compared as text."""

    def prompt(self, problem: Problem) -> str:
        return problem.question

    def prediction(self, response: str, problem: Problem) -> str | None:
        *before, last = _PREFIX.split(response)
        if not before:
            boxed = extract_answer(response)
            return boxed and _plain(boxed)
        lines = [line for line in last.split("\n") if line.strip(" *")]
        return (_plain(lines[0]) or None) if lines else None

    def verdicts(self, predictions: Sequence[tuple[str, Problem]], grader: Grader) -> list[bool]:
        return [any(same_text(prediction, answer) for answer in problem.answers) for prediction, problem in predictions]

    def classes(self, groups: Sequence[Sequence[str | None]], grader: Grader) -> list[list[int | None]]:
        return classes_of_same(groups)


def same_text(prediction: str, answer: str) -> bool:
    """Whether a prediction is an answer by BBEH's rules."""
    a, b = _plain(prediction), _plain(answer)
    bare = [re.sub(r"^\((.)\)$", r"\1", text) for text in (a, b)]
    if bare[0] == bare[1] or a.replace("'", "") == b.replace("'", ""):
        return True
    if a in (f"[{b}]", f"{b}?") or b == f"[{a}]":
        return True
    with suppress(ValueError):
        return float(a) == float(b)
    return False


def _plain(text: str) -> str:
    text = text.strip().replace("**", "").strip("$ ").rstrip(".").strip()
    while match := _WRAPPER.fullmatch(text):
        text = match[1].strip()
    return text.strip("$ ").rstrip(".").strip().lower().replace(", ", ",")
