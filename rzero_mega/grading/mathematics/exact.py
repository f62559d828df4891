"""Exact rational value and canonical spelling of a tree: the cheap half of equality, in integers only."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import reduce

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
    Relation,
    Sum,
)

MAX_EXACT_BITS = 14_000
"""Larger exact values are left to the workers; Python refuses to write more than 4,300 digits (14,284 bits)."""


def exact_value(node: Node) -> Fraction | None:
    """Return the value of `node` if it is rational by plain arithmetic (and not huge), else None."""
    match node:
        case Number(value):
            return value
        case Sum(terms):
            values = _values(terms)
            return None if values is None else reduce(_bounded_sum, values)
        case Product(factors):
            values = _values(factors)
            return None if values is None else reduce(_bounded_product, values)
        case Power(base, exponent):
            return _power(exact_value(base), exact_value(exponent))
        case Call(function, arguments):
            values = _values(arguments)
            return None if values is None else _call(function, [value for value in values if value is not None])
        case _:
            return None


def _values(nodes: tuple[Node, ...]) -> list[Fraction | None] | None:
    values = [exact_value(node) for node in nodes]
    return None if None in values else values


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _bounded(value: Fraction) -> Fraction | None:
    return value if _bits(value) <= MAX_EXACT_BITS else None


def _bounded_sum(left: Fraction | None, right: Fraction | None) -> Fraction | None:
    return None if left is None or right is None else _bounded(left + right)


def _bounded_product(left: Fraction | None, right: Fraction | None) -> Fraction | None:
    return None if left is None or right is None else _bounded(left * right)


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
        return str(value) if _bits(value) <= 256 else f"{value.numerator:x}/{value.denominator:x}x"
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
            return f"{function}({','.join(sorted(parts) if function in ('max', 'min') else parts)})"
        case Group(kind, items):
            parts = list(map(canonical, items))
            return f"{kind}:({','.join(sorted(parts) if kind in ('set', 'list', 'union', 'intersection') else parts)})"
        case Matrix(rows):
            return f"matrix[{';'.join(','.join(map(canonical, row)) for row in rows)}]"
        case Relation(operator, left, right):
            sides = [canonical(left), canonical(right)]
            return operator.join(sorted(sides) if operator in ("=", "!=") else sides)
        case Number(value):
            raise AssertionError(f"{value} has an exact value")


def _flat(node: Sum | Product) -> list[Node]:
    """Return the terms (factors) of nested sums (products) in one list."""
    flat: list[Node] = []
    for part in node.terms if isinstance(node, Sum) else node.factors:
        flat.extend(_flat(part) if isinstance(part, Sum | Product) and type(part) is type(node) else (part,))
    return flat


def _canonical_product(node: Product) -> str:
    coefficient: Fraction | None = Fraction(1)
    others: list[str] = []
    for factor in _flat(node):
        value = exact_value(factor)
        if value is None:
            others.append(canonical(factor))
        else:
            following = _bounded_product(coefficient, value)
            if following is None:
                others.append(canonical(factor))
            else:
                coefficient = following
    if coefficient == 0:
        return "0"
    if coefficient != 1:
        others.append(str(coefficient))
    return others[0] if len(others) == 1 else "{" + "*".join(sorted(others)) + "}"
