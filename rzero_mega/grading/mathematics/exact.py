"""Exact rational value and canonical spelling of a tree: the cheap half of equality, in integers only."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction

from rzero_mega.grading.expressions.functions import UNORDERED
from rzero_mega.grading.expressions.tree import (
    Call,
    Constant,
    Group,
    Matrix,
    Name,
    Node,
    Number,
    Power,
    Product,
    Quantity,
    Relation,
    Sum,
)

MAX_EXACT_BITS = 32_000
"""Larger exact values are left to the workers."""
_DECIMAL_BITS = 256
"""Larger values are spelt in hexadecimal: decimal takes the square of the length."""


def exact_value(node: Node) -> Fraction | None:
    """Return the value of `node` if it is rational by plain arithmetic (and not huge), else None."""
    match node:
        case Number(number):
            return number
        case Sum(terms):
            return _folded(terms, operator.add)
        case Product(factors):
            return _folded(factors, operator.mul)
        case Power(base, exponent):
            return _power(exact_value(base), exact_value(exponent))
        case Call(function, arguments):
            values = [value for argument in arguments if (value := exact_value(argument)) is not None]
            return _call(function, values) if len(values) == len(arguments) else None
        case _:
            return None


def _folded(parts: tuple[Node, ...], combine: Callable[[Fraction, Fraction], Fraction]) -> Fraction | None:
    """Return the sum or product of parts that are all rational, as long as it isn't huge on the way."""
    total: Fraction | None = None
    for part in parts:
        value = exact_value(part)
        if value is not None and total is not None:
            value = _bounded(combine(total, value))
        if value is None:
            return None
        total = value
    return total


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _bounded(value: Fraction) -> Fraction | None:
    return value if _bits(value) <= MAX_EXACT_BITS else None


def _power(base: Fraction | None, exponent: Fraction | None) -> Fraction | None:
    if base is None or exponent is None or (base == 0 and exponent <= 0):
        return None
    if exponent.denominator == 1:
        if _bits(base) * abs(exponent) > MAX_EXACT_BITS:
            return None
        return base ** int(exponent)
    root = _root(base, exponent.denominator) if base > 0 else None
    return None if root is None else _power(root, Fraction(exponent.numerator))


def _root(value: Fraction, degree: int) -> Fraction | None:
    """Return the positive `degree`-th root of a positive `value` if it is rational."""
    top, bottom = _integer_root(value.numerator, degree), _integer_root(value.denominator, degree)
    return None if top is None or bottom is None else Fraction(top, bottom)


def _integer_root(value: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(value)
    elif value.bit_length() > 1_000 or degree > 64:
        return None
    else:
        root = round(value ** (1.0 / degree))
    return root if root**degree == value else None


def _call(function: str, values: list[Fraction]) -> Fraction | None:
    first = values[0]
    whole = [int(value) for value in values if value.denominator == 1]
    match function:
        case "abs":
            return abs(first)
        case "floor":
            return Fraction(math.floor(first))
        case "ceiling":
            return Fraction(math.ceil(first))
        case "max":
            return max(values)
        case "min":
            return min(values)
        case "gcd" if len(whole) == len(values):
            return Fraction(math.gcd(*whole))
        case "lcm" if len(whole) == len(values) and sum(map(_bits, values)) <= MAX_EXACT_BITS:
            return Fraction(math.lcm(*whole))
        case "factorial" if first.denominator == 1 and first >= 0:
            return _bounded(Fraction(math.factorial(int(first))))
        case "binomial" if all(value.denominator == 1 and value >= 0 for value in values):
            return _bounded(Fraction(math.comb(int(first), int(values[1]))))
        case "root" if first:
            root = _root(abs(first), int(values[1]))
            return None if root is None else root * (1 if first > 0 else -1)
    return None


def canonical(node: Node) -> str:
    """Return a spelling that is the same for trees equal up to rational arithmetic and order of terms.

    Equal spellings mean equal trees: sums, products and powers are each in brackets of their own.
    """
    value = exact_value(node)
    if value is not None:
        return _spelt(value)
    match node:
        case Name(name):
            return f"<{name}>"
        case Constant(name):
            return name
        case Sum():
            return "(" + "+".join(sorted(map(canonical, _flat(node)))) + ")"
        case Product():
            return _canonical_product(node)
        case Power(base, exponent):
            return f"[{canonical(base)}^{canonical(exponent)}]"
        case Call(function, arguments):
            parts = list(map(canonical, arguments))
            return f"{function}({','.join(sorted(parts) if function in UNORDERED else parts)})"
        case Group(kind, items):
            parts = list(map(canonical, items))
            unordered = kind in ("set", "union", "intersection") or (kind == "list" and not is_sequence(parts))
            return f"{kind}:({','.join(sorted(parts) if unordered else parts)})"
        case Matrix(rows):
            return f"matrix[{';'.join(','.join(map(canonical, row)) for row in rows)}]"
        case Relation(operator, left, right):
            sides = [canonical(left), canonical(right)]
            return "{" + operator.join(sorted(sides) if operator in ("=", "!=") else sides) + "}"
        case Quantity(inner, unit):
            return f"{canonical(inner)} {unit.name}"
        case Number(value):
            raise AssertionError(f"{value} has an exact value")


_WORD = re.compile("<(?:[TFYN]|[A-Z]{2,})>")


def is_sequence(items: list[str]) -> bool:
    """Whether a list, given by the spellings of its items, keeps its order.

    One that repeats an item does, and one of words or of answers to one question each: ``AB, ABC``, ``T, F``.
    """
    return len(set(items)) < len(items) or all(map(_WORD.fullmatch, items))


def _spelt(value: Fraction) -> str:
    return str(value) if _bits(value) <= _DECIMAL_BITS else f"{value.numerator:x}/{value.denominator:x}x"


def _flat(node: Sum | Product) -> list[Node]:
    """Return the terms (factors) of nested sums (products) in one list."""
    flat: list[Node] = []
    for part in node.terms if isinstance(node, Sum) else node.factors:
        flat.extend(_flat(part) if isinstance(part, Sum | Product) and type(part) is type(node) else (part,))
    return flat


def _canonical_product(node: Product) -> str:
    coefficient = Fraction(1)
    others: list[str] = []
    for factor in _flat(node):
        value = exact_value(factor)
        following = None if value is None else _bounded(coefficient * value)
        if following is None:
            others.append(canonical(factor))
        else:
            coefficient = following
    if coefficient == 0 and not any("infinity" in other or "[0^" in other for other in others):
        return "0"
    if coefficient != 1:
        others.append(_spelt(coefficient))
    commuting = sum(isinstance(factor, Group | Matrix) for factor in _flat(node)) < 2
    return others[0] if len(others) == 1 else "{" + "*".join(sorted(others) if commuting else others) + "}"
