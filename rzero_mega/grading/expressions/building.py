"""Constructors of trees that fold what can be folded at once."""

from __future__ import annotations

from fractions import Fraction

from rzero_mega.grading.expressions.functions import UNARY
from rzero_mega.grading.expressions.tree import (
    MINUS_ONE,
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
    Sum,
    names,
)

_PARAMETERS = frozenset(("t", "s", "k", "c", "\\lambda", "\\mu"))
"""Letters that multiply a vector; others before a bracket name a point or a function: ``P(1, 2)``, ``f(x, y)``."""


def product(factors: list[Node]) -> Node:
    """Return the product of `factors`, of one factor that factor; a multiple of a matrix or vector entry by entry."""
    if len(factors) == 1:
        return factors[0]
    matrices = [factor for factor in factors if isinstance(factor, Matrix)]
    if len(matrices) == 1 and not any(isinstance(factor, Group) for factor in factors):
        others = [factor for factor in factors if not isinstance(factor, Matrix)]
        return Matrix(tuple(tuple(product([*others, entry]) for entry in row) for row in matrices[0].rows))
    vectors = [factor for factor in factors if isinstance(factor, Group)]
    if len(vectors) == 1 and vectors[0].kind == "()" and not matrices:
        scalars = [factor for factor in factors if not isinstance(factor, Group)]
        used = frozenset[str]().union(*map(names, scalars))
        if used <= _PARAMETERS and not (used and all(isinstance(item, Name) for item in vectors[0].items)):
            return Group("()", tuple(product([*scalars, item]) for item in vectors[0].items))
    return Product(tuple(factors))


def negative(node: Node) -> Node:
    """Return minus `node`."""
    match node:
        case Number(value):
            return Number(-value)
        case Quantity(value, unit):
            return Quantity(negative(value), unit)
        case _:
            return product([MINUS_ONE, node])


def inverse(node: Node) -> Node:
    """Return one over `node`."""
    return Number(1 / node.value) if isinstance(node, Number) and node.value else Power(node, MINUS_ONE)


def apply(name: str, argument: Node, base: Node | None = None) -> Node:
    """Return the function spelt `name` of `argument`, a logarithm to `base` where one is given."""
    function = UNARY[name]
    if base is not None:
        return Call("log", (argument, base))
    if function == "exp":
        return Power(Constant("e"), argument)
    if function == "cis":
        return Sum((Call("cos", (argument,)), Product((Constant("i"), Call("sin", (argument,))))))
    if function == "lg":
        return Call("log", (argument, Number(Fraction(10))))
    return Call(function, (argument,))
