"""A domain as another package has it: a word is to be written backwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rzero_mega.coevolution.checks import GENERAL
from rzero_mega.coevolution.records import VotedQuestion, WrittenQuestion
from rzero_mega.config.schema import ChecksConfig
from rzero_mega.domains.benchmark import BuiltIn
from rzero_mega.domains.domain import CheckableAnswers, Domain, Oracle
from rzero_mega.domains.problem import Problem
from rzero_mega.domains.reexpression.form import Form
from rzero_mega.grading.grader import TextGrader

WORDS = ("lamps", "river", "level", "candle")


def read_question(text: str, finished: bool, require_boxed: bool) -> WrittenQuestion | None:
    """From `ask WORD`, or `ask WORD = DROW` with the Challenger's own answer."""
    asked, _, own = text.removeprefix("ask ").partition(" = ")
    if not (finished and text.startswith("ask ") and asked.isalpha()) or (require_boxed and not own):
        return None
    return WrittenQuestion(asked, own or None)


def read_answer(text: str) -> str | None:
    """What follows the last `say`."""
    _, said, answer = text.rpartition("say ")
    return answer.strip() or None if said else None


def turn_round(question: str) -> str | None:
    """The truth of a question that is one word."""
    return question[::-1] if question.isalpha() else None


class Reversed(Form):
    """The word backwards, whose answer backwards is the question's."""

    def restore(self, answer: str | None) -> str | None:
        return None if answer is None else answer[::-1]


def palindrome(asked: VotedQuestion, config: ChecksConfig) -> bool:
    """The answer is the question, which tells nothing about whether the Solver can do it."""
    return asked.text == asked.text[::-1]


def problems() -> Iterator[Problem]:
    """One level."""
    return (Problem(word, (word[::-1],)) for word in WORDS)


DOMAIN = Domain(
    name="reversal",
    prompts={role: Path(__file__).parent / "prompts" / f"{role}.yaml" for role in ("challenger", "solver")},
    read_question=read_question,
    answers=CheckableAnswers(
        read=read_answer,
        grader=lambda _grading: TextGrader(str.casefold),
        oracle=Oracle("reversal", turn_round),
        reexpress=lambda question, most: [Reversed(question[::-1])][:most],
    ),
    checks={**GENERAL, "palindrome": palindrome},
    benchmarks={"reversal": BuiltIn("reversal", "other", len(WORDS), problems)},
)
