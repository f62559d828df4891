r"""Equality of two answers, cheapest evidence first. Three-valued: None says that the evidence so far doesn't decide.

What counts as the same answer. An answer may leave out what the question has already said: the unit, a percent or
degree sign, the modulus, the base of a numeral, am or pm (``5 cm`` is ``5``), the name of what is asked for (``x = 5``
is ``5``, ``x > 3`` is ``(3, \infty)``), the letter of a choice or what stands beside it. Where both say it they must
agree, after conversion (``100 cm`` is ``1 m``, ``5 cm`` is not ``5 m``; ``x = 5`` is not ``y = 5``). Leaving out is not
transitive: `classes` deals with that. What is a number may also be given by its value (``50\%`` is ``1/2``,
``180^\circ`` is ``\pi``, ``1011_2`` is 11). Rounding is not equality. Lists without brackets have no order, as sets,
but count an item twice; tuples, points, vectors and columns are one kind of thing, and so are intervals and tuples of
two that are written alike. Sets of real numbers are compared as sets. "No solution" is the empty set.
Functions with a constant of integration are equal if they differ by a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import product
from typing import TypeAlias

from rzero_mega.grading.answers.answer import Answer, Reading
from rzero_mega.grading.expressions.building import inverse
from rzero_mega.grading.expressions.tree import (
    Constant,
    Group,
    Matrix,
    Name,
    Node,
    Product,
    Relation,
    Sum,
    children,
    is_scalar,
    names,
    walk,
)
from rzero_mega.grading.mathematics.definitions import bodies
from rzero_mega.grading.mathematics.exact import canonical, exact_value
from rzero_mega.grading.mathematics.numeric import (
    Undecided,
    differ_by_a_constant,
    proportional,
    refuted_in_doubles,
    same_value,
)
from rzero_mega.grading.mathematics.realsets import is_operation, real_set, same_set
from rzero_mega.grading.mathematics.relations import difference, in_order, is_label
from rzero_mega.grading.mathematics.symbolic import same_expression
from rzero_mega.grading.text.words import prose_key

ScalarTest: TypeAlias = Callable[[Node, Node], bool | None]
"""Whether two scalar trees are equal; None if this test can't tell."""

_UNORDERED = ("set", "list")
_CONSTANTS = frozenset((Name("C"), Name("c")))
_VARIABLES = frozenset(("x", "y", "t", "u", "v", "z", "s", "r", "\\theta"))
"""What a function is integrated over; beside another letter a C is a quantity of its own, as in ``a + C``."""

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
    if a.key == b.key and a.unit == b.unit:
        return True, How.TEXT if a.tree is None else How.EXACT
    if a.tree is None or b.tree is None:
        return _same_text(a, b), How.TEXT
    verdict = _any(_compare_readings(first, second, _cheap_scalars) for first, second in _pairs(a, b))
    return None if verdict is None else (verdict, How.EXACT)


def compare_fully(a: Answer, b: Answer) -> bool:
    """Return whether two answers with trees are equal; what can't be decided at all is not equal."""
    return bool(_any(_compare_readings(first, second, _full_scalars) for first, second in _pairs(a, b)))


def says_as_much(a: Answer, b: Answer) -> bool:
    """Whether two equal answers leave out the same: equality among such answers is transitive.

    Both name the same quantity or none, and have units of one dimension or none; a percentage, an angle or a numeral
    with its base also says as much as the number that is its value. An answer with several readings says less than any
    other, unless a unit is the likeliest of them.
    """
    first, second = a.readings[0], b.readings[0]
    if (len(a.readings) > 1 and first.unit is None) or (len(b.readings) > 1 and second.unit is None):
        return False
    if first.tree is None or second.tree is None or first.value is None or second.value is None:
        return True
    if _label(first.tree) != _label(second.tree):
        return False
    if first.unit == second.unit:
        return True
    if (first.unit is None or first.unit.number) and (second.unit is None or second.unit.number):
        return canonical(first.value) == canonical(second.value)
    return first.unit is not None and second.unit is not None and first.unit.dimension == second.unit.dimension


def _label(tree: Node) -> str:
    tree = _unlabelled(tree)
    return canonical(tree.left) if isinstance(tree, Relation) and is_label(tree.left) else ""


def _same_text(a: Answer, b: Answer) -> bool:
    """Compare answers of which at least one is no expression."""
    if a.tree is None and b.tree is None:
        return a.key == b.key
    return bool(a.text) and prose_key(a.text) == prose_key(b.text)


def _pairs(a: Answer, b: Answer) -> Iterator[tuple[Reading, Reading]]:
    """Yield the pairs of readings, always in the same order, so that verdicts are symmetric."""
    first, second = (a, b) if (a.key, a.unit) <= (b.key, b.unit) else (b, a)
    return product(first.readings, second.readings)


def _compare_readings(a: Reading, b: Reading, scalars: ScalarTest) -> bool | None:
    if a.tree is None or b.tree is None or a.value is None or b.value is None:
        return a.key == b.key
    if a.unit is None and b.unit is None:
        if a.rational is not None and b.rational is not None:
            return a.rational == b.rational
        if a.scalar and b.scalar and scalars is _cheap_scalars:
            return True if a.key == b.key else _unless_refuted(a.tree, b.tree)
        return _compare(a.tree, b.tree, scalars)
    if a.unit is not None and b.unit is not None:
        return a.unit.dimension == b.unit.dimension and _compare(a.value, b.value, scalars)
    as_written = _compare(a.tree, b.tree, scalars)
    unit = a.unit or b.unit
    if as_written or unit is None or not unit.number:
        return as_written
    return _any((as_written, _compare(a.value, b.value, scalars)))


def _cheap_scalars(a: Node, b: Node) -> bool | None:
    left, right = exact_value(a), exact_value(b)
    if left is not None and right is not None:
        return left == right
    return True if canonical(a) == canonical(b) else _unless_refuted(a, b)


def _unless_refuted(a: Node, b: Node) -> bool | None:
    if _antiderivative(a) and _antiderivative(b):
        return None
    return False if _is_infinite(a) != _is_infinite(b) or refuted_in_doubles(a, b) else None


def _full_scalars(a: Node, b: Node) -> bool | None:
    cheap = _cheap_scalars(a, b)
    if cheap is not None:
        return cheap
    first, second = _antiderivative(a), _antiderivative(b)
    try:
        if first and second:
            return names(first) == names(second) and differ_by_a_constant(first, second)
        return same_value(a, b)
    except Undecided:
        return same_expression(a, b)


def _antiderivative(node: Node) -> Node | None:
    """Return what stands beside a constant of integration: a sum with a term C, the rest of it in one variable."""
    if not isinstance(node, Sum) or not _CONSTANTS.intersection(node.terms):
        return None
    rest = tuple(term for term in node.terms if term not in _CONSTANTS)
    variables = names(Sum(rest))
    return Sum(rest) if len(rest) == len(node.terms) - 1 and len(variables) == 1 and variables <= _VARIABLES else None


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
        return _compare_groups(_as_tuple(a), _as_tuple(b), scalars)
    if not (is_scalar(a) and is_scalar(b)):
        return canonical(a) == canonical(b)
    return scalars(a, b)


def _unlabelled(node: Node) -> Node:
    """Turn ``5 = x`` into ``x = 5``, reduce ``2 + 3 = 5`` to ``5``, and take the name off a point ``A(1, 2)``."""
    match node:
        case Relation("=", left, right):
            if is_label(right) and not is_label(left):
                left, right = right, left
            return right if is_scalar(left) and not names(left) else Relation("=", left, right)
        case Product((Name(name), Group("()", _) as point)) if name.isupper():
            return Relation("=", Name(name), point)
    return node


def _as_tuple(node: Node) -> Node:
    """Return a column as the tuple of its entries."""
    if isinstance(node, Matrix) and len(node.rows) > 1 and len(node.rows[0]) == 1:
        return Group("()", children(node))
    return node


def _compare_with_value(relation: Relation, value: Node, scalars: ScalarTest) -> bool | None:
    """Compare ``x = 5`` with ``5``: only beside a mere label does the right side stand for the answer."""
    if relation.operator not in ("=", "in") or not (is_label(relation.left) or isinstance(relation.right, Matrix)):
        return False
    return _compare(relation.right, value, scalars)


def _compare_relations(a: Relation, b: Relation, scalars: ScalarTest) -> bool | None:
    if a.operator != b.operator:
        return False
    a, b = in_order(a), in_order(b)
    if canonical(a) == canonical(b):
        return True
    if a.operator == "=" and (defined := bodies(a, b)):
        return _compare(*defined, scalars)
    named = is_label(a.left) or isinstance(a.right, Matrix)
    if a.operator in ("=", "in") and named and canonical(a.left) == canonical(b.left):
        return _compare(a.right, b.right, scalars)
    if not (is_scalar(a.left) and is_scalar(a.right) and is_scalar(b.left) and is_scalar(b.right)):
        return False
    if names(a) != names(b):
        return False
    if scalars is _cheap_scalars:
        return None
    try:
        return proportional(difference(a), difference(b), positive=a.operator in ("<", "<="))
    except Undecided:
        return False


def _compare_groups(a: Node, b: Node, scalars: ScalarTest) -> bool | None:
    left_kind = a.kind if isinstance(a, Group) else "list"
    right_kind = b.kind if isinstance(b, Group) else "list"
    if left_kind != right_kind and (left_kind in _UNORDERED) != (right_kind in _UNORDERED):
        unordered, other = (a, b) if left_kind in _UNORDERED else (b, a)
        members = _members(unordered)
        if len(members) == 1 and members[0] is not unordered and isinstance(members[0], Group | Matrix):
            return _compare(members[0], other, scalars)  # {(2, 5)} and (2, 5)
    if "ratio" in (left_kind, right_kind):
        return _compare_ratios(a, b, scalars)
    if left_kind in _UNORDERED and right_kind in _UNORDERED:
        return _match(_members(a), _members(b), scalars)
    if isinstance(a, Group) and isinstance(b, Group) and (left_kind != right_kind or is_operation(a)):
        sets = real_set(a), real_set(b)
        if sets[0] is not None and sets[1] is not None:
            return same_set(sets[0], sets[1], scalars)
    if left_kind != right_kind or not (isinstance(a, Group) and isinstance(b, Group)) or len(a.items) != len(b.items):
        return False
    if left_kind in ("union", "intersection"):
        return _match(list(a.items), list(b.items), scalars)
    return _all(_compare(x, y, scalars) for x, y in zip(a.items, b.items, strict=True))


def _compare_ratios(a: Node, b: Node, scalars: ScalarTest) -> bool | None:
    """Compare two ratios, which may be scaled, or a ratio of two with a quotient."""
    if not isinstance(a, Group):
        a, b = b, a
    if not isinstance(a, Group) or a.kind != "ratio" or not all(map(is_scalar, a.items)):
        return False
    if not isinstance(b, Group):
        return is_scalar(b) and len(a.items) == 2 and scalars(Product((a.items[0], inverse(a.items[1]))), b)
    if b.kind != "ratio" or len(a.items) != len(b.items) or not all(map(is_scalar, b.items)):
        return False
    first, other = a.items[0], b.items[0]
    return _all(
        scalars(Product((x, other)), Product((y, first))) for x, y in zip(a.items[1:], b.items[1:], strict=True)
    )


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


def _any(verdicts: Iterable[bool | None]) -> bool | None:
    doubtful = False
    for verdict in verdicts:
        if verdict:
            return True
        doubtful = doubtful or verdict is None
    return None if doubtful else False
