"""Length: a question padded with words is like no other in BLEU, and the Solver loses its thread in it.

What a Challenger would learn: a story of a thousand words around one problem pays no repetition penalty however often
the problem comes back, and it uses up the Solver's tokens, so that samples are cut off. The check bounds the question.
How long answers are, and how many are cut off, is counted; `mostly_unanswered` acts on it.
"""

from __future__ import annotations

from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig


def too_long(asked: VotedQuestion, config: ChecksConfig) -> bool:
    """Whether the question has more than `maximum_question_chars` characters."""
    return len(asked.question.text) > config.maximum_question_chars
