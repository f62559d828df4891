"""Clock arithmetic, the nano world's second family: an expression's value on a clock of so many hours, ``(12*3+5)%31``.

The base half knows it, the Challenger never writes it and no Solver is trained on it: what a run gains here is
transfer. It shares sums and products with the expressions of ``arithmetic`` and needs a reduction besides. No question
of this family is an expression of the other (it begins with a parenthesis), so the truth about what a Challenger wrote
never comes from here. Everything here is pure, and every random draw comes from the caller's ``random.Random``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice, repeat
from random import Random

from rzero_mega.domains.arithmetic.expressions import (
    HELD_OUT_SHARE,
    MAX_EXPRESSION_CHARS,
    ArithmeticProblem,
    new_held_out,
    parse,
    random_expression,
    truth,
)

LEVELS = (1, 2, 3)
"""The three levels of difficulty: those of the expression on the clock."""

MIN_HOURS, MAX_HOURS = 11, 99
"""A clock has two digits, so an answer is one of up to 99."""

MAX_TURNS = 9
"""How often a random question's hand goes round: at least once, and a digit says how often."""

_QUESTION = re.compile(r"\(([^()]*)\)%([0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class Clock:
    """A parsed question: an expression in canonical form, and the hours of the clock, at least one."""

    expression: str
    hours: int

    def __str__(self) -> str:
        """Return the canonical form of the question, without leading zeros."""
        return f"({self.expression})%{self.hours}"


def parse_clock(question: str) -> Clock | None:
    """Parse a question; None for anything that is not one, or is longer than ``MAX_EXPRESSION_CHARS``."""
    match = _QUESTION.fullmatch(question) if len(question) <= MAX_EXPRESSION_CHARS else None
    chain = parse(match[1]) if match else None
    if match is None or chain is None or int(match[2]) == 0:
        return None
    return Clock(str(chain), int(match[2]))


def clock_truth(question: str) -> int | None:
    """Return the hour that a question's expression falls on, from 0 to one less than the hours; None if malformed."""
    clock = parse_clock(question)
    value = truth(clock.expression) if clock else None
    return None if clock is None or value is None else value % clock.hours


def is_clock_held_out(question: str) -> bool:
    """Say whether a question belongs to the held-out sixteenth, by a hash of its canonical form."""
    clock = parse_clock(question)
    return clock is not None and int.from_bytes(sha256(str(clock).encode()).digest()[:8], "big") % HELD_OUT_SHARE == 0


def random_clock_question(level: int, rng: Random) -> str:
    """Draw a question: an expression of the level on a clock round which its value goes 1 to ``MAX_TURNS`` times."""
    while True:
        expression, hours = random_expression(level, rng), rng.randint(MIN_HOURS, MAX_HOURS)
        value = truth(expression)
        if value is not None and hours <= value < (MAX_TURNS + 1) * hours:
            return f"({expression})%{hours}"


def held_out_clock_set(per_level: int = 84) -> list[ArithmeticProblem]:
    """Return the fixed held-out problems, ``per_level`` distinct questions for each level, in order of level."""
    problems: list[ArithmeticProblem] = []
    seen: set[str] = set()
    for level in LEVELS:
        rng = Random(f"clock held-out level {level}")
        draws = (random_clock_question(level, rng) for _ in repeat(None))
        found = islice(new_held_out(draws, is_clock_held_out, seen), per_level)
        problems += [ArithmeticProblem(level, question, str(clock_truth(question))) for question in found]
    return problems
