"""Paraphrases of questions in language: a gate on their meaning. Pure.

A model that writes a question in other words changes it now and then. What is wrong is mostly found by two checks: the
numbers, and whether a model that did not write it gives both the same answer. A paraphrase that passes may still be
wrong; it then costs the source of votes that is asked on it its support for a right label.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum

from rzero_mega.domains.reexpression.form import Form

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


class Verdict(StrEnum):
    """What became of a paraphrase; the first of these that applies."""

    UNPARSED = "unparsed"
    """The response has no question block."""

    SAME = "same"
    """It is the question itself."""

    NUMBERS = "numbers"
    """Its numbers are not the question's."""

    MEANING = "meaning"
    """The majorities of the answers to both differ, or one has none."""

    PASSED = "passed"
    """It is asked in the question's place."""


def first_verdict(question: str, paraphrase: str | None) -> Verdict | None:
    """What speaks against a paraphrase before anybody is asked; None if nothing does."""
    if paraphrase is None:
        return Verdict.UNPARSED
    if _words(paraphrase) == _words(question):
        return Verdict.SAME
    return None if numbers(paraphrase) == numbers(question) else Verdict.NUMBERS


def numbers(text: str) -> frozenset[str]:
    """The numerals of a text, without separators of thousands. A new one may give the answer away."""
    return frozenset(number.replace(",", "") for number in _NUMBER.findall(text))


def same_majority(classes: Sequence[int | None]) -> bool:
    """Whether the majorities of the first and the second half are one class of equal answers.

    None is a sample without an answer. There is no majority where no class has more votes than every other: a model
    that answers another thing each time says nothing.
    """
    half = len(classes) // 2
    first, second = _majority(classes[:half]), _majority(classes[half:])
    return first is not None and first == second


class Paraphrases:
    """The paraphrases that passed, by question, as a kind of forms; copies of a question share one."""

    def __init__(self, passed: Mapping[str, str]) -> None:
        """`passed` has the paraphrase of a question."""
        self._passed = passed

    def __call__(self, question: str, most: int) -> Sequence[Form]:
        """The question's paraphrase, if it has one."""
        return [Form(self._passed[question])][:most] if question in self._passed else []


def _majority(classes: Sequence[int | None]) -> int | None:
    ranked = Counter(label for label in classes if label is not None).most_common(2)
    tied = len(ranked) == 2 and ranked[0][1] == ranked[1][1]
    return None if tied or not ranked else ranked[0][0]


def _words(text: str) -> list[str]:
    return text.casefold().split()
