"""Passages and summaries: how both are read, and what a rule sees of a summary without understanding it. All pure."""

from __future__ import annotations

import re

FEWEST_SENTENCES, MOST_SENTENCES = 4, 12
"""Of a passage."""
MOST_OF_SUMMARY = 2
"""Sentences that a summary may have."""

_LONGEST_PASSAGE, _LONGEST_SUMMARY = 2_000, 1_000  # in characters
_SHORT = 0.75
_BETWEEN = re.compile(r"(?<=[.!?]) +")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def sentences(text: str) -> list[str]:
    """What full stops, question and exclamation marks end, by the spaces behind them: an abbreviation ends one too."""
    return [found for found in _BETWEEN.split(text.strip()) if found]


def words(text: str) -> list[str]:
    """In the order of the text, in small letters; numbers are words."""
    return [word.casefold() for word in _WORD.findall(text)]


def is_passage(text: str) -> bool:
    """Whether it is one paragraph of 4 to 12 whole sentences."""
    if not _is_paragraph(text, _LONGEST_PASSAGE):
        return False
    return FEWEST_SENTENCES <= len(sentences(text)) <= MOST_SENTENCES


def read_summary(text: str) -> str | None:
    """The one paragraph of whole sentences that a finished response is; None of anything else."""
    summary = text.strip()
    return summary if _is_paragraph(summary, _LONGEST_SUMMARY) else None


def is_short(passage: str, summary: str) -> bool:
    """Whether it has two sentences at most, and three quarters of the passage's length."""
    return len(sentences(summary)) <= MOST_OF_SUMMARY and len(summary) <= _SHORT * len(passage)


def drawn_from(passage: str, summary: str) -> float:
    """The share of the summary's words that stand in the passage; 0 of none."""
    given, known = words(summary), set(words(passage))
    return sum(word in known for word in given) / len(given) if given else 0.0


def rule(passage: str, summary: str) -> float:
    """From 0 to 1: the share of its words that are the passage's, halved where it isn't short.

    It sees nothing of what matters in the passage: any sentence of it has all there is.
    """
    return drawn_from(passage, summary) * (1.0 if is_short(passage, summary) else 0.5)


def _is_paragraph(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and "\n" not in text and text == text.strip() and text[-1] in ".!?"
