"""When two questions are the same one."""

from __future__ import annotations

from collections.abc import Iterable


def question_key(question: str) -> str:
    """Equal for questions that are the same but for whitespace."""
    return " ".join(question.split())


def different(questions: Iterable[str]) -> list[int]:
    """The places of the first ones of questions that are the same, in their order."""
    first: dict[str, int] = {}
    for place, question in enumerate(questions):
        first.setdefault(question_key(question), place)
    return list(first.values())
