"""Equality of two answers, cheapest evidence first. Three-valued: None says that the evidence so far doesn't decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import TypeAlias

from rzero_mega.grading.answer import Answer
from rzero_mega.grading.exact import canonical, exact_value
from rzero_mega.grading.numeric import Undecided, proportional, refuted_in_doubles, same_value
from rzero_mega.grading.relations import is_label
from rzero_mega.grading.symbolic import same_expression
from rzero_mega.grading.tree import (
    MINUS_ONE,
    Constant,
    Group,
    Matrix,
    Node,
    Product,
    Relation,
    Sum,
    children,
    is_scalar,
    names,
    walk,
)

ScalarTest: TypeAlias = Callable[[Node, Node], bool | None]
"""Whether two scalar trees are equal; None if this test can't tell."""

_UNORDERED = ("set", "list")
_MATCHED_CHEAPLY = 12
"""Matching takes comparisons by the square of the size; larger collections are left to the worker processes."""


class How(Enum):
    """What a verdict rests on."""

    TEXT = "text"
    """The normalised texts are the same, or one of them isn't an expression and they differ."""
    EXACT = "exact"
    """Rational arithmetic, structure, or a difference that doubles already show."""
    COMPUTED = "computed"
    """High-precision evaluation, or sympy where that didn't decide."""
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    CRASHED = "crashed"


def compare_cheaply(a: Answer, b: Answer) -> tuple[bool, How] | None:
    """Return a verdict if one can be had in microseconds without risk, else None."""
    if a.unit and b.unit and a.unit != b.unit:
        return False, How.TEXT
    if a.key == b.key:
        return True, How.TEXT if a.tree is None else How.EXACT
    if a.tree is None or b.tree is None:
        return False, How.TEXT
    if a.rational is not None and b.rational is not None:
        return False, How.EXACT  # equal ones have equal keys
    verdict = _compare(*_ordered(a, b), _cheap_scalars)
    return None if verdict is None else (verdict, How.EXACT)


def compare_fully(a: Answer, b: Answer) -> bool:
    """Return whether two answers with trees are equal; what can't be decided at all is not equal."""
    return bool(_compare(*_ordered(a, b), _full_scalars))


def _ordered(a: Answer, b: Answer) -> tuple[Node, Node]:
    """Return the two trees in an order of their own, so that verdicts are symmetric."""
    assert a.tree is not None and b.tree is not None
    return (a.tree, b.tree) if a.key <= b.key else (b.tree, a.tree)


def _cheap_scalars(a: Node, b: Node) -> bool | None:
    left, right = exact_value(a), exact_value(b)
    if left is not None and right is not None:
        return left == right
    if canonical(a) == canonical(b):
        return True
    if _is_infinite(a) != _is_infinite(b) or refuted_in_doubles(a, b):
        return False
    return None


def _full_scalars(a: Node, b: Node) -> bool | None:
    cheap = _cheap_scalars(a, b)
    if cheap is not None:
        return cheap
    try:
        return same_value(a, b)
    except Undecided:
        return same_expression(a, b)


def _is_infinite(node: Node) -> bool:
    return any(isinstance(part, Constant) and part.name == "infinity" for part in walk(node))


def _compare(a: Node, b: Node, scalars: ScalarTest) -> bool | None:
    a, b = _unlabelled(a), _unlabelled(b)
    if isinstance(a, Relation) and isinstance(b, Relation):
        return _compare_relations(a, b, scalars)
    if isinstance(a, Relation):
        return _compare_with_value(a, b, scalars)
    if isinstance(b, Relation):
        return _compare_with_value(b, a, scalars)
    if isinstance(a, Matrix) and isinstance(b, Matrix):
        if (len(a.rows), len(a.rows[0])) != (len(b.rows), len(b.rows[0])):
            return False
        return _all(_compare(x, y, scalars) for x, y in zip(children(a), children(b), strict=True))
    if isinstance(a, Group) or isinstance(b, Group):
        return _compare_groups(a, b, scalars)
    if not (is_scalar(a) and is_scalar(b)):
        return canonical(a) == canonical(b)
    return scalars(a, b)


def _unlabelled(node: Node) -> Node:
    """Turn ``5 = x`` into ``x = 5`` and reduce ``2 + 3 = 5`` to ``5``."""
    if not isinstance(node, Relation) or node.operator != "=":
        return node
    left, right = node.left, node.right
    if is_label(right) and not is_label(left):
        left, right = right, left
    return right if is_scalar(left) and not names(left) else Relation("=", left, right)


def _compare_with_value(relation: Relation, value: Node, scalars: ScalarTest) -> bool | None:
    """Compare ``x = 5`` with ``5``: only beside a mere label does the right side stand for the answer."""
    if relation.operator != "=" or not is_label(relation.left):
        return False
    return _compare(relation.right, value, scalars)


def _compare_relations(a: Relation, b: Relation, scalars: ScalarTest) -> bool | None:
    if a.operator != b.operator:
        return False
    if canonical(a) == canonical(b):
        return True
    if a.operator == "=" and is_label(a.left) and canonical(a.left) == canonical(b.left):
        return _compare(a.right, b.right, scalars)
    if not (is_scalar(a.left) and is_scalar(a.right) and is_scalar(b.left) and is_scalar(b.right)):
        return False
    if scalars is _cheap_scalars:
        return None
    try:
        return proportional(_difference(a), _difference(b), positive=a.operator in ("<", "<="))
    except Undecided:
        return False


def _difference(relation: Relation) -> Node:
    return Sum((relation.left, Product((MINUS_ONE, relation.right))))


def _compare_groups(a: Node, b: Node, scalars: ScalarTest) -> bool | None:
    left_kind = a.kind if isinstance(a, Group) else "list"
    right_kind = b.kind if isinstance(b, Group) else "list"
    if left_kind in _UNORDERED and right_kind in _UNORDERED:
        return _match(_members(a), _members(b), scalars)
    if left_kind != right_kind or not (isinstance(a, Group) and isinstance(b, Group)) or len(a.items) != len(b.items):
        return False
    if left_kind in ("union", "intersection"):
        return _match(list(a.items), list(b.items), scalars)
    return _all(_compare(x, y, scalars) for x, y in zip(a.items, b.items, strict=True))


def _members(node: Node) -> list[Node]:
    """Return the members of a set or list, of any other node itself. In a set each counts once."""
    if not isinstance(node, Group) or node.kind not in _UNORDERED:
        return [node]
    members = [member for item in node.items for member in _members(item)]
    return list({canonical(member): member for member in members}.values()) if node.kind == "set" else members


def _match(left: list[Node], right: list[Node], scalars: ScalarTest) -> bool | None:
    """Pair off equal items. Equality being an equivalence relation, taking the first equal partner loses nothing."""
    if len(left) != len(right):
        return False
    if scalars is _cheap_scalars and len(left) > _MATCHED_CHEAPLY:
        return True if sorted(map(canonical, left)) == sorted(map(canonical, right)) else None
    remaining = list(right)
    doubtful = False
    for item in sorted(left, key=canonical):
        verdicts = [_compare(item, other, scalars) for other in remaining]
        if True in verdicts:
            del remaining[verdicts.index(True)]
        elif None in verdicts:
            doubtful = True
        else:
            return False
    return None if doubtful else True


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    doubtful = False
    for verdict in verdicts:
        if verdict is False:
            return False
        doubtful = doubtful or verdict is None
    return None if doubtful else True
