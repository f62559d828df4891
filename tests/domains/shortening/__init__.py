"""A domain of another package whose answers have scores: a word is to be written shorter, with the same letters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.domains.benchmark import BuiltIn
from rzero_mega.domains.domain import Domain, ScoredAnswers
from rzero_mega.domains.problem import Problem


def read_question(text: str, finished: bool, require_boxed: bool) -> WrittenQuestion | None:
    """From `ask WORD`."""
    word = text.removeprefix("ask ")
    return WrittenQuestion(word, None) if finished and text.startswith("ask ") and word.isalpha() else None


def read_answer(text: str) -> str | None:
    """What follows `say`."""
    return text.removeprefix("say ") or None if text.startswith("say ") else None


def brevity(question: str, answer: str) -> float:
    return max(0.0, 1.0 - len(answer) / len(question))


def letters_kept(question: str, answer: str) -> float | None:
    """Not known of words with a capital letter."""
    return len(set(question) & set(answer)) / len(set(question)) if question.islower() else None


def problems() -> Iterator[Problem]:
    """One that is in no data set, and one that would be."""
    return (Problem(word, ()) for word in ("abcd", "held"))


ANSWERS = ScoredAnswers(read_answer, score=brevity, quality=letters_kept)
DOMAIN = Domain(
    name="shortening",
    prompts={role: Path(__file__).parent / "prompts" / f"{role}.yaml" for role in ("challenger", "solver")},
    read_question=read_question,
    answers=ANSWERS,
    checks={},
    benchmarks={"shortening": BuiltIn("shortening", "other", 2, problems)},
)
