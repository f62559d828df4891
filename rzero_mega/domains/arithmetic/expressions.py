"""The arithmetic world of the nano base: expressions, their truth and the held-out split.

An expression is a chain of integers with ``+``, ``-`` and ``*`` and the usual precedence, for example ``12*3+5``; a
minus sign may stand before the first number. Its truth is exact integer arithmetic, so label accuracy, difficulty and
gains in this world are known without a judge. Everything here is pure, and every random draw comes from the caller's
``random.Random``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice, repeat
from random import Random

MAX_EXPRESSION_CHARS = 64
"""Longer text is malformed. The bound keeps every intermediate result below 10**64."""

HELD_OUT_SHARE = 16
"""One expression in so many is held out."""

_EXPRESSION = re.compile(r"-?[0-9]+(?:[+*-][0-9]+)*")
_TOKEN = re.compile(r"[0-9]+|[+*-]")


@dataclass(frozen=True, slots=True)
class LevelSpec:
    """Shape of a level's expressions: how many operands, of how many digits, joined by which operators."""

    operands: int
    digits: int
    operators: str


LEVELS: dict[int, LevelSpec] = {
    1: LevelSpec(operands=2, digits=2, operators="+-"),
    2: LevelSpec(operands=2, digits=2, operators="+-*"),
    3: LevelSpec(operands=3, digits=2, operators="+-*"),
    4: LevelSpec(operands=3, digits=3, operators="+-*"),
    5: LevelSpec(operands=4, digits=3, operators="+-*"),
}
"""The five levels of difficulty. A number after ``*`` always has one digit, whatever the level."""

FURTHER_PROBLEMS = {1: 275, 2: 275, 3: 650, 4: 650, 5: 650}
"""How many problems of each level ``further_held_out_set()`` has: fewer of two operands, which would run out."""


@dataclass(frozen=True, slots=True)
class ArithmeticProblem:
    """An expression of a level with its exact answer in decimal."""

    level: int
    expression: str
    answer: str


@dataclass(frozen=True, slots=True)
class Chain:
    """A parsed expression: ``numbers[0] operators[0] numbers[1] …``."""

    numbers: tuple[int, ...]
    operators: tuple[str, ...]

    def __str__(self) -> str:
        """Return the canonical form of the expression, without leading zeros."""
        rest = (operator + str(number) for operator, number in zip(self.operators, self.numbers[1:], strict=True))
        return str(self.numbers[0]) + "".join(rest)


def parse(expression: str) -> Chain | None:
    """Parse an expression; None for anything that is not one, or is longer than ``MAX_EXPRESSION_CHARS``."""
    if len(expression) > MAX_EXPRESSION_CHARS or not _EXPRESSION.fullmatch(expression):
        return None
    tokens = _TOKEN.findall(expression)
    sign = 1
    if tokens[0] == "-":
        sign, tokens = -1, tokens[1:]
    numbers = [int(token) for token in tokens[::2]]
    return Chain((sign * numbers[0], *numbers[1:]), tuple(tokens[1::2]))


def truth(expression: str) -> int | None:
    """Return the exact value of an expression, or None if it is malformed."""
    chain = parse(expression)
    if chain is None:
        return None
    total, term = 0, chain.numbers[0]
    for operator, number in zip(chain.operators, chain.numbers[1:], strict=True):
        if operator == "*":
            term *= number
        else:
            total, term = total + term, number if operator == "+" else -number
    return total + term


def written_steps(expression: str) -> Iterator[str]:
    """Work a well-formed expression out, ``12*3=36`` and ``36+5=41`` for ``12*3+5``: products first, from the left."""
    chain = parse(expression)
    if chain is None:
        raise ValueError(f"not an arithmetic expression: {expression!r}")
    numbers, operators = list(chain.numbers), list(chain.operators)
    while operators:
        at = operators.index("*") if "*" in operators else 0
        left, operator, right = numbers[at], operators.pop(at), numbers[at + 1]
        value = left * right if operator == "*" else left + right if operator == "+" else left - right
        numbers[at : at + 2] = [value]
        yield f"{left}{operator}{right}={value}"


def is_held_out(expression: str) -> bool:
    """Say whether an expression belongs to the held-out sixteenth, by a hash of its canonical form.

    The elementary facts (two one-digit numbers) are never held out: they are the tables that everything else is worked
    out from. Malformed text and bare numbers are not held out either.
    """
    chain = parse(expression)
    if chain is None or not chain.operators:
        return False
    if len(chain.numbers) == 2 and all(abs(number) < 10 for number in chain.numbers):
        return False
    return int.from_bytes(sha256(str(chain).encode()).digest()[:8], "big") % HELD_OUT_SHARE == 0


def random_expression(level: int, rng: Random) -> str:
    """Draw an expression of a level (1 to 5). Numbers of few digits are as likely as numbers of many."""
    spec = LEVELS[level]
    parts = [_random_number(spec.digits, rng)]
    for _ in range(spec.operands - 1):
        operator = rng.choice(spec.operators)
        parts += [operator, _random_number(1 if operator == "*" else spec.digits, rng)]
    return "".join(parts)


def held_out_set(per_level: int = 100) -> list[ArithmeticProblem]:
    """Return the fixed held-out problems, ``per_level`` distinct expressions for each level, in order of level.

    Raises ValueError if a level does not have so many.
    """
    problems: list[ArithmeticProblem] = []
    seen: set[str] = set()
    for level in LEVELS:
        rng = Random(f"arithmetic held-out level {level}")
        draws = (random_expression(level, rng) for _ in range(100 * per_level))
        found = list(islice(new_held_out(draws, is_held_out, seen), per_level))
        if len(found) < per_level:
            raise ValueError(f"level {level} has fewer than {per_level} held-out expressions")
        problems += [ArithmeticProblem(level, expression, str(truth(expression))) for expression in found]
    return problems


def further_held_out_set() -> list[ArithmeticProblem]:
    """Return 2,500 held-out problems that are not among those of ``held_out_set()``, distinct, in order of level."""
    problems: list[ArithmeticProblem] = []
    seen = {problem.expression for problem in held_out_set()}
    for level, count in FURTHER_PROBLEMS.items():
        rng = Random(f"arithmetic further held-out level {level}")
        found = islice(new_held_out((random_expression(level, rng) for _ in repeat(None)), is_held_out, seen), count)
        problems += [ArithmeticProblem(level, expression, str(truth(expression))) for expression in found]
    return problems


def new_held_out(draws: Iterable[str], held_out: Callable[[str], bool], seen: set[str]) -> Iterator[str]:
    """Those that are held out and not seen yet, which are seen from then on."""
    for question in draws:
        if question not in seen and held_out(question):
            seen.add(question)
            yield question


def _random_number(digits: int, rng: Random) -> str:
    length = rng.randint(1, digits)
    return str(rng.randint(0 if length == 1 else 10 ** (length - 1), 10**length - 1))
