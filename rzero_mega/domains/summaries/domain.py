"""Summaries, as phases see them: passages that a Challenger writes, and that are to be said in two sentences."""

from __future__ import annotations

from pathlib import Path

from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.domains.better_of_two import COMPARISON
from rzero_mega.domains.domain import Domain, ScoredAnswers
from rzero_mega.domains.summaries.corruptions import CORRUPTIONS
from rzero_mega.domains.summaries.texts import is_passage, read_summary, rule

_PROMPTS = Path(__file__).parent / "prompts"


def read_question(text: str, finished: bool, require_boxed: bool) -> WrittenQuestion | None:
    """The passage that a finished response is. None of them comes with a summary of its own."""
    passage = text.strip()
    if not finished or require_boxed or not is_passage(passage):
        return None
    return WrittenQuestion(passage, None)


SUMMARIES = Domain(
    name="summaries",
    prompts={role: _PROMPTS / f"summaries_{role}.yaml" for role in ("challenger", "solver", "critic")},
    read_question=read_question,
    answers=ScoredAnswers(read_summary, score=rule, corruptions=CORRUPTIONS, comparison=COMPARISON),
    checks={},
)
