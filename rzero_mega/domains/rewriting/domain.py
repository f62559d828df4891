"""Rewriting, as phases see it: rows of words that are written better or worse, and never right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.domains.benchmark import BuiltIn
from rzero_mega.domains.better_of_two import COMPARISON
from rzero_mega.domains.domain import Domain, ScoredAnswers
from rzero_mega.domains.problem import Problem
from rzero_mega.domains.rewriting.corruptions import CORRUPTIONS
from rzero_mega.domains.rewriting.parts import HALVES
from rzero_mega.domains.rewriting.rows import brevity, is_task, measured_tasks, quality, read_row

_PROMPTS = Path(__file__).parent / "prompts"
_PER_LEVEL = 100
_OPEN, _CLOSE = "<question>", "</question>"


def read_question(text: str, finished: bool, require_boxed: bool) -> WrittenQuestion | None:
    """The task of a response that is its block and nothing else. None of them comes with an answer of its own."""
    row = text.strip()
    if not finished or require_boxed or not (row.startswith(_OPEN) and row.endswith(_CLOSE)):
        return None
    task = row[len(_OPEN) : -len(_CLOSE)]
    return WrittenQuestion(task, None) if is_task(task) else None


def _problems() -> Iterator[Problem]:
    return (Problem(task, (), str(level)) for level, task in measured_tasks(_PER_LEVEL))


REWRITING = Domain(
    name="rewriting",
    prompts={role: _PROMPTS / f"rewriting_{role}.yaml" for role in ("challenger", "solver", "critic")},
    read_question=read_question,
    answers=ScoredAnswers(
        read_row,
        score=brevity,
        quality=quality,
        corruptions=CORRUPTIONS,
        decomposition=HALVES,
        comparison=COMPARISON,
    ),
    checks={},
    benchmarks={"rewriting": BuiltIn("rewriting", "other", _PER_LEVEL, _problems)},
)
