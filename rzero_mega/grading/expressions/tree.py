"""The grader's own expression tree, and the limits on it.

Model text becomes nothing but these frozen nodes. Limits on size and on the magnitude of constants are checked before
anything is computed from a tree, so that a number tower such as ``9^{9^{9}}`` costs no more than its reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
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
MAX_FACTORIAL = 1_000


class Unreadable(ValueError):
    """The text is not an expression this grader knows, or exceeds a limit; it is then compared as text only."""


@dataclass(frozen=True, slots=True)
class Number:
    """An exact rational."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, with its subscript if it has one."""

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
    """A known function (`rzero_mega.grading.expressions.functions`) of its arguments."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Items in brackets.

    `kind` is the pair of brackets ("()", "[)", ...), or "set", "list", "union", "intersection", "difference", "ratio".

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
    """`left` `operator` `right`, the operator one of ``= != < <=`` (greater-than is turned round when read)."""

    operator: str
    left: Node
    right: Node


Node: TypeAlias = Number | Name | Constant | Sum | Product | Power | Call | Group | Matrix | Relation

ZERO = Number(Fraction(0))
MINUS_ONE = Number(Fraction(-1))


def children(node: Node) -> tuple[Node, ...]:
    """Return the direct children of `node`, in order."""
    match node:
        case Sum(terms):
            return terms
        case Product(factors):
            return factors
        case Power(base, exponent):
            return base, exponent
        case Call(_, arguments):
            return arguments
        case Group(_, items):
            return items
        case Matrix(rows):
            return tuple(entry for row in rows for entry in row)
        case Relation(_, left, right):
            return left, right
        case _:
            return ()


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


def substituted(node: Node, name: str, by: Node) -> Node:
    """Return `node` with `by` in place of the variable `name`."""

    def inside(parts: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(substituted(part, name, by) for part in parts)

    match node:
        case Name(own):
            return by if own == name else node
        case Sum(terms):
            return Sum(inside(terms))
        case Product(factors):
            return Product(inside(factors))
        case Power(base, exponent):
            return Power(*inside((base, exponent)))
        case Call(function, arguments):
            return Call(function, inside(arguments))
        case Group(kind, items):
            return Group(kind, inside(items))
        case Matrix(rows):
            return Matrix(tuple(map(inside, rows)))
        case Relation(operator, left, right):
            return Relation(operator, *inside((left, right)))
        case _:
            return node


def is_scalar(node: Node) -> bool:
    """Whether `node` is a number-valued expression all through: no brackets, matrix or relation in it."""
    return not any(isinstance(part, Group | Matrix | Relation) for part in walk(node))


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
    if function in ("factorial", "binomial"):
        for argument, size in zip(arguments, bits, strict=True):
            if size is not None and (not isinstance(argument, Number) or abs(argument.value) > MAX_FACTORIAL):
                raise Unreadable("factorial too large")
        return None if None in bits else 10.0 * MAX_FACTORIAL
    return _total(bits)


def _total(bits: list[float | None]) -> float | None:
    known = [size for size in bits if size is not None]
    return _bounded(sum(known) + len(known)) if len(known) == len(bits) else None


def _bounded(bits: float) -> float:
    if bits > MAX_BITS:
        raise Unreadable("number too large")
    return bits
