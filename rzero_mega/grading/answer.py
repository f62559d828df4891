"""An answer as it is compared: its normalised text, its unit, and its tree if it is an expression."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rzero_mega.grading.exact import canonical, exact_value
from rzero_mega.grading.extraction import MAX_ANSWER_CHARS
from rzero_mega.grading.normalisation import normalise
from rzero_mega.grading.parser import parse
from rzero_mega.grading.tree import Node, Unreadable
from rzero_mega.grading.units import split_unit

_TEXT_COMMAND = re.compile(r"\\text\s*\{([^{}]*)\}")
_ARTICLE = re.compile(r"^(?:the|a|an)\s+(?=\S)")
_PHRASES = {
    "no solutions": "no solution", "no real solutions": "no real solution", "there is no solution": "no solution",
    "there are no solutions": "no solution", "none exist": "none exists", "dne": "does not exist",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read.

    key: equal for answers that are equal by text or by rational arithmetic, units apart.
    unit: canonical unit, "" if none is given.
    rational: the exact value of an answer that is a plain rational number.
    tree: None if the text isn't an expression within limits; such an answer compares by `key` alone.
    """

    key: str
    unit: str
    tree: Node | None
    rational: Fraction | None = None


def read_answer(text: str) -> Answer:
    """Read an extracted answer. Never raises; a text over the length limit equals only itself."""
    if len(text) > MAX_ANSWER_CHARS:
        return Answer("overlong:" + text, "", None)  # not kept: thousands of megabytes could be
    return _read(text)


@lru_cache(maxsize=8192)
def _read(text: str) -> Answer:
    normalised = normalise(text)
    body, unit = split_unit(normalised)
    for candidate, its_unit in ((body, unit), (normalised, "")) if unit or body != normalised else ((normalised, ""),):
        try:
            tree = parse(candidate)
        except Unreadable:
            continue
        return Answer(canonical(tree), its_unit, tree, exact_value(tree))
    return Answer("text:" + prose_key(normalised), "", None)


def prose_key(text: str) -> str:
    """Return the spelling by which answers that aren't expressions are compared.

    Words are compared without case, articles and final punctuation; formulas (anything with a backslash or digit)
    without white space.
    """
    text = _TEXT_COMMAND.sub(r" \1 ", text)
    if "\\" in text or any(character.isdigit() for character in text):
        return "".join(text.split())
    words = _ARTICLE.sub("", " ".join(text.casefold().replace('"', "").split()).strip(" .,;:!"))
    return _PHRASES.get(words, words)
