"""From a Challenger's response to a question, or to nothing when it is malformed."""

from __future__ import annotations

from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.grading import extract_answer

MAX_QUESTION_CHARS = 8_192
"""Longer questions are malformed: about the 2,048 prompt tokens that R-Zero grants the Solver."""

_OPEN, _CLOSE = "<question>", "</question>"


def parse_question(
    text: str, finished: bool, require_boxed: bool, max_chars: int = MAX_QUESTION_CHARS
) -> WrittenQuestion | None:
    r"""Return the last ``<question>…</question>`` block of a response, stripped, or None if it is malformed.

    Malformed is: no complete block, a blank or overlong one, and with `require_boxed` no own answer. A response that
    was cut off (`finished` False) while it wrote another question is malformed too: the one that it meant is not there.
    Where an opening tag stands inside the block, as when the model first writes about the tags, the innermost counts.

    The own answer is the last balanced ``\boxed{}`` after the block; in a finished response also one before it. A box
    within the question is part of the question.
    """
    span = _last_block(text)
    if span is None:
        return None
    start, end = span
    after = text[end + len(_CLOSE) :]
    if not finished and _OPEN in after:
        return None
    question = text[start:end].strip()
    if not question or len(question) > max_chars:
        return None
    own_answer = extract_answer(after)
    if own_answer is None and finished:
        own_answer = extract_answer(text[: start - len(_OPEN)])
    if own_answer is None and require_boxed:
        return None
    return WrittenQuestion(question, own_answer)


def _last_block(text: str) -> tuple[int, int] | None:
    """Where the content of the last complete block starts and ends. Linear in the text, unlike a lazy regex."""
    last_close = text.rfind(_CLOSE)
    start = text.rfind(_OPEN, 0, last_close) if last_close >= 0 else -1
    if start < 0:
        return None
    # Not `last_close`: a stray closing tag further on must not swallow what stands between the two.
    return start + len(_OPEN), text.find(_CLOSE, start)
