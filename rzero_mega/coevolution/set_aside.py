"""Which questions a third role is never trained on, so that it can be measured on them."""

from __future__ import annotations

from rzero_mega.coevolution.question_key import question_key
from rzero_mega.coevolution.streams import derive_seed


def set_aside(role: str, question: str, share: float) -> bool:
    """Whether the question is one of those that the role is never trained on; of all questions it is this share.

    A question is told by its text alone: it is set aside in every iteration, and on every machine.
    """
    return derive_seed(role, "set aside", question_key(question)) < share * 2**64
