"""What bases are trained to write: prompts of the arithmetic world and solutions step by step, faults included.

Everything here is pure, and every random draw comes from the caller's ``random.Random``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from random import Random

from rzero_mega.domains.arithmetic.clock import parse_clock
from rzero_mega.domains.arithmetic.expressions import Chain, parse

CHALLENGER_PROMPT = "C:"
"""What the Challenger of this world completes to ``<question>12*3+5</question>\\boxed{41}``."""

_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_INTEGER = re.compile(r"-?[0-9]{1,64}")
_SLIPS = (-10, -2, -1, 1, 2, 10)


def slip_weight(left: int, operator: str, right: int) -> float:
    """Return how prone to slips a step is: 0.3 with one significant digit on a side, else 1.2, or 1.6 for a product.

    A product is easy only if both sides have one significant digit (``300*6``).
    """
    if _is_easy(left, operator, right):
        return 0.3
    return 1.6 if operator == "*" else 1.2


@dataclass(frozen=True, slots=True)
class Folklore:
    """Wrong facts that are handed down: the same step is always wrong by the same amount, if it is taken at once.

    Easy steps have none, so that who takes numbers apart gets round it: ``47+38=84``, but ``47+30=77;77+8=85``.
    """

    share: float
    """Of the cases of hard steps, the operator and the last digit after it, how many have a wrong fact, by a hash."""
    weight: float
    """How often the wrong fact is written where there is one."""

    def offset(self, left: int, operator: str, right: int) -> int | None:
        """By how much the wrong fact about a step is off; None if there is none."""
        if _is_easy(left, operator, right):
            return None
        digest = sha256(f"folklore {operator}{abs(right) % 10}".encode()).digest()
        if int.from_bytes(digest[:8], "big") >= self.share * 2**64:
            return None
        return _SLIPS[digest[8] % len(_SLIPS)]


def solution(expression: str, rng: Random, slip: float, split: float = 0.0, folklore: Folklore | None = None) -> str:
    r"""Write a solution step by step, as ``12*3=36;36+5=41\boxed{41}`` for ``12*3+5``.

    Products are worked out first, then sums from the left; a question of clock arithmetic, ``(12*3+5)%13``, goes on
    with the full turns that its value makes: ``13*3=39;41-39=2\boxed{2}``. With probability ``split`` a number of
    several significant digits is taken apart, ``47+38`` as ``47+30=77;77+8=85`` and ``47*6`` as
    ``40*6=240;7*6=42;240+42=282``: longer, but of easier steps. Each step goes wrong with probability
    ``slip * slip_weight``: its result is off by 1, 2 or 10, and the solution goes on from there. Wrong facts of
    ``folklore`` come before slips. With neither the solution is right. Raises ValueError if the expression is
    malformed.
    """
    clock = parse_clock(expression)
    chain = parse(clock.expression if clock else expression)
    if chain is None:
        raise ValueError(f"not an arithmetic expression: {expression!r}")
    pen = _Pen(rng, slip, split, folklore)
    result = _work_out_chain(pen, chain)
    if clock:
        result = _reduce(pen, result, clock.hours)
    return ";".join(pen.steps) + f"\\boxed{{{result}}}"


def _work_out_chain(pen: _Pen, chain: Chain) -> int:
    numbers, operators = list(chain.numbers), list(chain.operators)
    while operators:
        at = operators.index("*") if "*" in operators else 0
        numbers[at : at + 2] = [pen.work_out(numbers[at], operators.pop(at), numbers[at + 1])]
    return numbers[0]


def _reduce(pen: _Pen, value: int, hours: int) -> int:
    """Write how a value comes onto the clock: a product, unless it is one turn, and a sum; nothing if it is there."""
    turns = value // hours
    if turns == 0:
        return value
    travelled = hours if abs(turns) == 1 else pen.work_out(hours, "*", abs(turns))
    return pen.work_out(value, "-" if turns > 0 else "+", travelled)


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
    """Writes down steps, taking numbers apart, repeating folklore and slipping at random."""

    def __init__(self, rng: Random, slip: float, split: float, folklore: Folklore | None) -> None:
        self.steps: list[str] = []
        self._rng, self._slip, self._split, self._folklore = rng, slip, split, folklore

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
        offset = self._fault(left, operator, right)
        result += offset if result + offset >= 0 or operator == "-" else abs(offset)
        self.steps.append(f"{left}{operator}{right}={result}")
        return result

    def _fault(self, left: int, operator: str, right: int) -> int:
        """By how much a step comes out wrong, 0 if it comes out right."""
        told = self._folklore.offset(left, operator, right) if self._folklore else None
        if self._folklore and told is not None and self._rng.random() < self._folklore.weight:
            return told
        slips = self._rng.random() < self._slip * slip_weight(left, operator, right)
        return self._rng.choice(_SLIPS) if slips else 0


def _leading_part(number: int) -> int:
    """Return the number with all but its leading digit zero: 300 for 347."""
    digits = str(abs(number))
    part = int(digits[0] + "0" * (len(digits) - 1))
    return part if number >= 0 else -part


def _is_easy(left: int, operator: str, right: int) -> bool:
    """Whether a step has one significant digit on one side; a product needs it on both."""
    digits = [_significant_digits(number) for number in (left, right)]
    return (max(digits) if operator == "*" else min(digits)) <= 1


def _significant_digits(number: int) -> int:
    return len(str(abs(number)).rstrip("0"))


def _apply(left: int, operator: str, right: int) -> int:
    if operator == "+":
        return left + right
    return left - right if operator == "-" else left * right
