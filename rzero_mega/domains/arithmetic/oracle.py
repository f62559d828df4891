"""The truth about questions that the Challenger wrote, where it can be computed: label accuracy rests on it."""

from __future__ import annotations

import re

from rzero_mega.domains.arithmetic.expressions import truth
from rzero_mega.domains.domain import Oracle

# "What is 12 + 30 * 2?" and its likes; the expression itself is checked by the arithmetic world's own parser.
_ASKED = re.compile(r"(?:what\s+is|what's|compute|calculate|evaluate|find)?\s*:?\s*([-+*×x\d\s]{1,64}?)\s*[=?.]*", re.I)


def true_answer(question: str) -> str | None:
    """The exact answer of a question that is an integer expression, or asks for one in so many words; else None."""
    match = _ASKED.fullmatch(question.strip()) if len(question) <= 200 else None
    if match is None:
        return None
    expression = re.sub(r"\s+", "", match[1]).replace("×", "*").replace("x", "*")
    if re.search(r"\d\s+\d", match[1].strip()):
        return None
    value = truth(expression)
    return None if value is None else str(value)


EXACT_ARITHMETIC = Oracle("arithmetic", true_answer)
