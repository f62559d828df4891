"""When two questions are the same one."""

from __future__ import annotations


def question_key(question: str) -> str:
    """Equal for questions that are the same but for whitespace."""
    return " ".join(question.split())
