"""What equations, inequalities, lists and plus-minus signs mean as answers: values, intervals, sets of values."""

from __future__ import annotations

from fractions import Fraction

from rzero_mega.grading.tree import (
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
    Relation,
    Sum,
    Unreadable,
    names,
    walk,
)

_INFINITY = Constant("infinity")
_MINUS_INFINITY = Product((MINUS_ONE, _INFINITY))
_INTERVALS = ("()", "(]", "[)", "[]")
_SIGNS = ("plus_minus", "minus_plus")


def chain(sides: list[Node], operators: list[str]) -> Node:
    """Return the meaning of ``sides[0] operators[0] sides[1] ...``.

    ``a = b = c`` is ``a = c``; an inequality that bounds one variable is an interval, and so is membership of a set.
    Raises `Unreadable` for any other chain.
    """
    if not operators:
        return sides[0]
    if set(operators) == {"="}:
        return Relation("=", sides[0], sides[-1])
    if operators == ["in"]:
        if not isinstance(sides[0], Name):
            raise Unreadable("membership of an expression")
        return sides[1]
    if operators[0] in (">", ">="):
        if any(operator not in (">", ">=") for operator in operators):
            raise Unreadable("mixed inequalities")
        sides, operators = sides[::-1], [operator.replace(">", "<") for operator in operators[::-1]]
    if operators in (["!="], ["<"], ["<="]):
        return _as_interval(Relation(operators[0], sides[0], sides[1]))
    if len(operators) == 2 and set(operators) <= {"<", "<="} and isinstance(sides[1], Name):
        kind = ("(" if operators[0] == "<" else "[") + (")" if operators[1] == "<" else "]")
        return Group(kind, (sides[0], sides[2]))
    raise Unreadable("chain of relations")


def _as_interval(relation: Relation) -> Node:
    left, right = relation.left, relation.right
    if relation.operator == "!=":
        return relation
    closed = relation.operator == "<="
    if isinstance(left, Name) and not names(right):
        return Group("(]" if closed else "()", (_MINUS_INFINITY, right))
    if isinstance(right, Name) and not names(left):
        return Group("[)" if closed else "()", (left, _INFINITY))
    return relation


def gather(items: list[Node], alternatives: bool) -> Node:
    """Return what a list of answers means. `alternatives` says whether "or" joins them.

    ``x = 2, x = -2`` and ``x = 2, -2`` are ``x =`` the list of both; intervals joined by "or" are their union.
    """
    if len(items) == 1:
        return items[0]
    if alternatives and all(isinstance(item, Group) and item.kind in _INTERVALS for item in items):
        return Group("union", tuple(items))
    first = items[0]
    if isinstance(first, Relation) and first.operator == "=" and isinstance(first.left, Name):
        values = [
            item.right if isinstance(item, Relation) and item.operator == "=" and item.left == first.left else item
            for item in items
        ]
        if not any(isinstance(value, Relation) for value in values):
            return Relation("=", first.left, Group("list", tuple(values)))
    return Group("list", tuple(items))


def expand_signs(node: Node) -> Node:
    """Return a whole answer with its plus-minus signs expanded: the list of the upper and the lower reading.

    Raises `Unreadable` for a sign inside a tuple, interval or matrix, where it isn't clear what is meant.
    """
    if not any(isinstance(part, Call) and part.function in _SIGNS for part in walk(node)):
        return node
    match node:
        case Relation("=", left, right):
            return Relation("=", left, expand_signs(right))
        case Group("list" | "set" as kind, items):
            return Group(kind, tuple(expand_signs(item) for item in items))
    return Group("list", (_with_sign(node, 1), _with_sign(node, -1)))


def _with_sign(node: Node, sign: int) -> Node:
    match node:
        case Call(function, (operand,)) if function in _SIGNS:
            value = sign if function == "plus_minus" else -sign
            return Product((Number(Fraction(value)), _with_sign(operand, sign)))
        case Sum(terms):
            return Sum(tuple(_with_sign(term, sign) for term in terms))
        case Product(factors):
            return Product(tuple(_with_sign(factor, sign) for factor in factors))
        case Power(base, exponent):
            return Power(_with_sign(base, sign), _with_sign(exponent, sign))
        case Call(function, arguments):
            return Call(function, tuple(_with_sign(argument, sign) for argument in arguments))
        case Group() | Matrix() | Relation():
            raise Unreadable("plus-minus around brackets")
        case _:
            return node


def is_label(node: Node) -> bool:
    """Whether `node` only names what is asked for, like the left side of ``f(x) = 5`` or ``a + b = 5``."""
    return not any(isinstance(part, Number | Power | Call | Group | Matrix | Relation) for part in walk(node))
