"""Is this answer that answer: extraction, normalisation, equality, and a pool of killable processes."""

from __future__ import annotations

from rzero_mega.grading.answers.comparison import How
from rzero_mega.grading.equality import equivalent
from rzero_mega.grading.text.extraction import extract_answer
from rzero_mega.grading.text.normalisation import normalise
from rzero_mega.grading.workers.pool import GradingPool, GradingStats, Verdict

__all__ = ["GradingPool", "GradingStats", "How", "Verdict", "equivalent", "extract_answer", "normalise"]
