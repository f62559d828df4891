"""The arithmetic world of the nano base: expressions, their truth, the held-out split and written solutions.

An expression is a chain of integers with ``+``, ``-`` and ``*`` and the usual precedence, for example ``12*3+5``; a
minus sign may stand before the first number. Its truth is exact integer arithmetic, so label accuracy, difficulty and
gains in this world are known without a judge. Everything here is pure, and every random draw comes from the caller's
``random.Random``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from random import Random

MAX_EXPRESSION_CHARS = 64
"""Longer text is malformed. The bound keeps every intermediate result below 10**64."""

HELD_OUT_SHARE = 16
"""One expression in so many is held out."""

CHALLENGER_PROMPT = "C:"
"""What the Challenger of this world completes to ``<question>12*3+5</question>\\boxed{41}``."""

_EXPRESSION = re.compile(r"-?[0-9]+(?:[+*-][0-9]+)*")
_TOKEN = re.compile(r"[0-9]+|[+*-]")
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_INTEGER = re.compile(r"-?[0-9]{1,64}")
_SLIPS = (-10, -2, -1, 1, 2, 10)


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
        wanted = len(problems) + per_level
        for _ in range(100 * per_level):
            if len(problems) == wanted:
                break
            expression = random_expression(level, rng)
            if expression not in seen and is_held_out(expression):
                seen.add(expression)
                problems.append(ArithmeticProblem(level, expression, str(truth(expression))))
        if len(problems) < wanted:
            raise ValueError(f"level {level} has fewer than {per_level} held-out expressions")
    return problems


def slip_weight(left: int, operator: str, right: int) -> float:
    """Return how prone to slips a step is: 0.3 with one significant digit on a side, else 1.2, or 1.6 for a product.

    A product is easy only if both sides have one significant digit (``300*6``).
    """
    digits = sorted(_significant_digits(number) for number in (left, right))
    if operator == "*":
        return 0.3 if digits[1] <= 1 else 1.6
    return 0.3 if digits[0] <= 1 else 1.2


def solution(expression: str, rng: Random, slip: float, split: float = 0.0) -> str:
    r"""Write a solution step by step, as ``12*3=36;36+5=41\boxed{41}`` for ``12*3+5``.

    Products are worked out first, then sums from the left. With probability ``split`` a number of several significant
    digits is taken apart, ``47+38`` as ``47+30=77;77+8=85`` and ``47*6`` as ``40*6=240;7*6=42;240+42=282``: longer, but
    of easier steps. Each step goes wrong with probability ``slip * slip_weight``: its result is off by 1, 2 or 10, and
    the solution goes on from there. With ``slip=0`` the solution is right. Raises ValueError if the expression is
    malformed.
    """
    chain = parse(expression)
    if chain is None:
        raise ValueError(f"not an arithmetic expression: {expression!r}")
    pen = _Pen(rng, slip, split)
    numbers, operators = list(chain.numbers), list(chain.operators)
    while operators:
        at = operators.index("*") if "*" in operators else 0
        numbers[at : at + 2] = [pen.work_out(numbers[at], operators.pop(at), numbers[at + 1])]
    return ";".join(pen.steps) + f"\\boxed{{{numbers[0]}}}"


def written_steps(text: str) -> Iterator[str]:
    r"""Yield the left-hand sides of a written solution: ``12*3``, ``36+5`` for ``12*3=36;36+5=41\boxed{41}``."""
    for step in text.split("\\boxed", 1)[0].split(";"):
        if "=" in step:
            yield step.split("=", 1)[0]


def boxed_integer(text: str) -> str | None:
    r"""Return the integer in the last ``\boxed{…}`` in canonical decimal, or None if there is none."""
    boxes = _BOXED.findall(text)
    if not boxes or not _INTEGER.fullmatch(boxes[-1].strip()):
        return None
    return str(int(boxes[-1]))


def solver_prompt(question: str) -> str:
    """Return the raw prompt that the Solver of this world completes."""
    return f"Q:{question}\nA:"


class _Pen:
    """Writes down steps, taking numbers apart and slipping at random."""

    def __init__(self, rng: Random, slip: float, split: float) -> None:
        self.steps: list[str] = []
        self._rng, self._slip, self._split = rng, slip, split

    def work_out(self, left: int, operator: str, right: int) -> int:
        """Write the steps of one operation and return its result, slips included."""
        number = left if operator == "*" else right
        head = _leading_part(number)
        if head == number or self._rng.random() >= self._split:
            return self._write(left, operator, right)
        if operator == "*":
            head_product = self._write(head, "*", right)
            return self.work_out(head_product, "+", self.work_out(left - head, "*", right))
        return self.work_out(self._write(left, operator, head), operator, right - head)

    def _write(self, left: int, operator: str, right: int) -> int:
        result = _apply(left, operator, right)
        if self._rng.random() < self._slip * slip_weight(left, operator, right):
            offset = self._rng.choice(_SLIPS)
            result += offset if result + offset >= 0 or operator == "-" else abs(offset)
        self.steps.append(f"{left}{operator}{right}={result}")
        return result


def _leading_part(number: int) -> int:
    """Return the number with all but its leading digit zero: 300 for 347."""
    digits = str(abs(number))
    part = int(digits[0] + "0" * (len(digits) - 1))
    return part if number >= 0 else -part


def _random_number(digits: int, rng: Random) -> str:
    length = rng.randint(1, digits)
    return str(rng.randint(0 if length == 1 else 10 ** (length - 1), 10**length - 1))


def _significant_digits(number: int) -> int:
    return len(str(abs(number)).rstrip("0"))


def _apply(left: int, operator: str, right: int) -> int:
    if operator == "+":
        return left + right
    return left - right if operator == "-" else left * right
