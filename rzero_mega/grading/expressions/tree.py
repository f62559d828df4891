"""What an answer says: an inert tree of exact numbers, names and known operators, within limits.

Nothing here computes. `check_limits` refuses trees that would be dear to compute (``9^{9^{9}}``) before anybody tries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

MAX_SOURCE_CHARS = 1_000
MAX_DIGITS = 1_000
MAX_DEPTH = 40
MAX_NODES = 400
MAX_EXPONENT = 10_000
"""Largest constant exponent of a base that holds variables."""
MAX_BITS = 131_072
"""Largest log2 of a constant (numerator or denominator), so ``2^{100000}`` is an answer and ``9^{9^{9}}`` is not."""
MAX_FACTORIAL = 2_500
MAX_BINOMIAL = 10**9
"""Largest n of ``\\binom{n}{k}`` if k or n - k is at most `MAX_CHOSEN`."""
MAX_CHOSEN = 300


class Unreadable(ValueError):
    """The text is not an expression this grader knows, or exceeds a limit; it is then compared as text only."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measurement.

    name: one spelling per unit. dimension: what it measures, the same for all units that can be converted into each
    other. scale: its size in base units. number: whether a quantity in it is a plain number too (percent, an angle).
    modulus: of a residue, which is read like a unit.
    """

    name: str
    dimension: str
    scale: Fraction = Fraction(1)
    number: bool = False
    modulus: str = ""


@dataclass(frozen=True, slots=True)
class Number:
    """An exact rational."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Name:
    """A variable with its subscript, a function applied to something, or words that are known as a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """One of ``pi``, ``e``, ``i``, ``infinity``."""

    name: str


@dataclass(frozen=True, slots=True)
class Sum:
    """Terms added up."""

    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """Factors multiplied."""

    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Power:
    """`base` to the power of `exponent`, principal value."""

    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A known function (`expressions.functions`) of its arguments."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value and its unit, as the parser finds them; `answers.answer` sets the unit apart."""

    value: Node
    unit: Unit


@dataclass(frozen=True, slots=True)
class Group:
    """Items in brackets.

    `kind` is the pair of brackets ("()", "[)", ...), or "set", "list", "union", "intersection", "difference", "ratio",
    "cases", or "chain": spellings of one value, as in ``1/4 = 0.25``.

    A "list" is written without brackets (``1, 2`` or ``1 or 2`` or what a plus-minus sign stands for) and has no order.
    """

    kind: str
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of equal length."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """`left` `operator` `right`, the operator one of ``= != < <= in`` (greater-than is turned round when read)."""

    operator: str
    left: Node
    right: Node


Node: TypeAlias = Number | Name | Constant | Sum | Product | Power | Call | Quantity | Group | Matrix | Relation

MINUS_ONE = Number(Fraction(-1))
DEGREE = Product((Constant("pi"), Number(Fraction(1, 180))))


def children(node: Node) -> tuple[Node, ...]:
    """Return the direct children of `node`, in order."""
    match node:
        case Sum(parts) | Product(parts) | Call(_, parts) | Group(_, parts):
            return parts
        case Power(left, right) | Relation(_, left, right):
            return left, right
        case Matrix(rows):
            return tuple(entry for row in rows for entry in row)
        case Quantity(value, _):
            return (value,)
        case _:
            return ()


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return `node` with `change` applied to its direct children."""

    def each(parts: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(map(change, parts))

    match node:
        case Sum(parts):
            return Sum(each(parts))
        case Product(parts):
            return Product(each(parts))
        case Power(base, exponent):
            return Power(change(base), change(exponent))
        case Call(function, arguments):
            return Call(function, each(arguments))
        case Group(kind, items):
            return Group(kind, each(items))
        case Relation(operator, left, right):
            return Relation(operator, change(left), change(right))
        case Matrix(rows):
            return Matrix(tuple(map(each, rows)))
        case Quantity(value, unit):
            return Quantity(change(value), unit)
    return node


def walk(node: Node) -> Iterator[Node]:
    """Yield `node` and all its descendants."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(children(current))


def names(node: Node) -> frozenset[str]:
    """Return the names of the variables in `node`."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Name))


def is_scalar(node: Node) -> bool:
    """Whether `node` is a number-valued expression all through: no brackets, matrix or relation in it."""
    return not any(isinstance(part, Group | Matrix | Relation | Quantity) for part in walk(node))


def check_limits(node: Node) -> None:
    """Raise `Unreadable` if computing with `node` could be expensive.

    Depth is bounded by the parser, which refuses to nest deeper than `MAX_DEPTH`.
    """
    if sum(1 for _ in walk(node)) > MAX_NODES:
        raise Unreadable("too many parts")
    _magnitude(node)


def _magnitude(node: Node) -> float | None:
    """Bound ``log2`` of a constant expression's numerator and denominator from above; None if it has a variable.

    Only the bound is computed, in floating point: it adds up over sums and products, and a power multiplies the bound
    of its base by the largest value its exponent can have.
    """
    match node:
        case Number(value):
            return max(math.log2(max(1, abs(value.numerator))), math.log2(value.denominator))
        case Name():
            return None
        case Constant():
            return 2.0
        case Power(base, exponent):
            return _power_magnitude(base, exponent)
        case Call(function, arguments):
            return _call_magnitude(function, arguments)
        case _:
            return _total([_magnitude(child) for child in children(node)])


def _power_magnitude(base: Node, exponent: Node) -> float | None:
    base_bits, exponent_bits = _magnitude(base), _magnitude(exponent)
    if exponent_bits is None:
        return None
    if base_bits is None:
        if exponent_bits > math.log2(MAX_EXPONENT):
            raise Unreadable("exponent too large")
        return None
    return _bounded(base_bits * 2.0 ** min(exponent_bits, 64.0))


def _call_magnitude(function: str, arguments: tuple[Node, ...]) -> float | None:
    bits = [_magnitude(argument) for argument in arguments]
    if function not in ("factorial", "binomial"):
        return _total(bits)
    constants = [argument for argument, size in zip(arguments, bits, strict=True) if size is not None]
    values = [abs(argument.value) for argument in constants if isinstance(argument, Number)]
    if len(values) < len(constants):
        raise Unreadable("factorial of an expression")
    if function == "binomial" and len(values) == 2 and values[0] <= MAX_BINOMIAL:
        chosen = min(values[1], abs(values[0] - values[1]))
        if chosen <= MAX_CHOSEN:
            return 32.0 * float(chosen + 1)
    if max(values, default=Fraction(0)) > MAX_FACTORIAL:
        raise Unreadable("factorial too large")
    return None if None in bits else 12.0 * MAX_FACTORIAL


def _total(bits: list[float | None]) -> float | None:
    known = [size for size in bits if size is not None]
    return _bounded(sum(known) + len(known)) if len(known) == len(bits) else None


def _bounded(bits: float) -> float:
    if bits > MAX_BITS:
        raise Unreadable("number too large")
    return bits
