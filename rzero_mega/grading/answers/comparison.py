r"""Equality of two answers, cheapest evidence first. Three-valued: None says that the evidence so far doesn't decide.

What counts as the same answer. Nothing of an answer is ever dropped to make it match: what is not read whole is
compared as text. An answer may leave out what the question has already said: the unit, a percent or degree sign, the
modulus, the base of a numeral (``5 cm`` is ``5``), the name of what is asked for (``x = 5`` is ``5``, ``x > 3`` is
``(3, \infty)``), the letter of a choice or what stands beside it. Where both say it they must agree, after conversion
(``100 cm`` is ``1 m``, ``5 cm`` is not ``5 m``; ``x = 5`` is not ``y = 5``). Leaving out is not transitive: `classes`
deals with that. What is a number may also be given by its value (``50\%`` is ``1/2``, ``180^\circ`` is ``\pi``); a
numeral in a base may not, for that would pay for echoing the question. Of several spellings of one value each must be
right (``1/3 = 0.33`` is not ``1/3``). Rounding is not equality. Lists without brackets have no order, as sets, but
count an item twice; one that repeats an item keeps its order. Tuples, points, vectors and columns are one kind of
thing, and so are intervals and tuples of two that are written alike. "No solution" is the empty set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import TypeAlias

from rzero_mega.grading.answers.answer import CHOICE, Answer
from rzero_mega.grading.expressions.building import inverse
from rzero_mega.grading.expressions.tree import (
    Call,
    Constant,
    Group,
    Matrix,
    Name,
    Node,
    Product,
    Relation,
    children,
    is_scalar,
    names,
    walk,
)
from rzero_mega.grading.mathematics.exact import canonical, exact_value, is_sequence
from rzero_mega.grading.mathematics.numeric import (
    Undecided,
    is_rounded,
    proportional,
    refuted_in_doubles,
    same_value,
)
from rzero_mega.grading.mathematics.relations import difference, in_order, is_label, numbered
from rzero_mega.grading.text.vocabulary import prose_key

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
    """High-precision evaluation."""
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    CRASHED = "crashed"


def compare_cheaply(a: Answer, b: Answer) -> tuple[bool, How] | None:
    """Return a verdict if one can be had in microseconds without risk, else None."""
    if a.key == b.key and a.unit == b.unit:
        return True, How.TEXT if a.tree is None else How.EXACT
    if a.tree is None or b.tree is None:
        return a.tree is not b.tree and bool(a.text) and prose_key(a.text) == prose_key(b.text), How.TEXT
    verdict = _compare_answers(a, b, _cheap_scalars)
    return None if verdict is None else (verdict, How.EXACT)


def compare_fully(a: Answer, b: Answer) -> bool:
    """Return whether two answers with trees are equal; what can't be decided at all is not equal."""
    return bool(_compare_answers(a, b, _full_scalars))


def says_as_much(a: Answer, b: Answer) -> bool:
    """Whether two equal answers leave out the same: equality among such answers is transitive.

    Both name the same quantity or none, and have units of one dimension or none; a percentage or an angle also says as
    much as the number that is its value.
    """
    if a.tree is None or b.tree is None or a.value is None or b.value is None:
        return True
    if _label(a.tree) != _label(b.tree):
        return False
    if a.unit == b.unit:
        return True
    if (a.unit is None or a.unit.number) and (b.unit is None or b.unit.number):
        return canonical(a.value) == canonical(b.value)
    return a.unit is not None and b.unit is not None and a.unit.dimension == b.unit.dimension


def _label(tree: Node) -> str:
    tree = _with_name(tree)
    return canonical(tree.left) if isinstance(tree, Relation) and is_label(tree.left) else ""


def _compare_answers(a: Answer, b: Answer, scalars: ScalarTest) -> bool | None:
    """Compare two answers with trees, always in the same order, so that verdicts are symmetric."""
    if _place(b) < _place(a):
        a, b = b, a
    assert a.tree is not None and b.tree is not None and a.value is not None and b.value is not None
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
    by_value = _compare(a.value, b.value, scalars)
    return None if as_written is None and by_value is False else by_value


def _place(answer: Answer) -> tuple[str, str]:
    return answer.key, answer.unit.name if answer.unit else ""


def _cheap_scalars(a: Node, b: Node) -> bool | None:
    left, right = exact_value(a), exact_value(b)
    if left is not None and right is not None:
        return left == right
    return True if canonical(a) == canonical(b) else _unless_refuted(a, b)


def _unless_refuted(a: Node, b: Node) -> bool | None:
    return False if _is_infinite(a) != _is_infinite(b) or refuted_in_doubles(a, b) else None


def _full_scalars(a: Node, b: Node) -> bool | None:
    cheap = _cheap_scalars(a, b)
    try:
        return same_value(a, b) if cheap is None else cheap
    except Undecided:
        return False


def _is_infinite(node: Node) -> bool:
    return any(isinstance(part, Constant) and part.name == "infinity" for part in walk(node))


def _compare(a: Node, b: Node, scalars: ScalarTest) -> bool | None:
    a, b = _with_name(a), _with_name(b)
    if isinstance(a, Relation) and isinstance(b, Relation) and _wraps(a) == _wraps(b):
        return _compare_relations(a, b, scalars)
    if isinstance(a, Relation) and (_wraps(a) or not isinstance(b, Relation)):
        return _compare_with_value(a, b, scalars)
    if isinstance(b, Relation):
        return _compare_with_value(b, a, scalars)
    if _is_chain(a) or _is_chain(b):
        return _all(_compare_spellings(x, y, scalars) for x, y in _to_compare(a, b))
    if isinstance(a, Matrix) and isinstance(b, Matrix):
        if (len(a.rows), len(a.rows[0])) != (len(b.rows), len(b.rows[0])):
            return False
        return _all(_compare(x, y, scalars) for x, y in zip(children(a), children(b), strict=True))
    if isinstance(a, Group) or isinstance(b, Group):
        return _compare_groups(_as_tuple(a), _as_tuple(b), scalars)
    if not (is_scalar(a) and is_scalar(b)):
        return canonical(a) == canonical(b)
    return scalars(a, b)


def _with_name(node: Node) -> Node:
    """Read the letter before a point as its name, ``A(1, 2)`` as ``A = (1, 2)``."""
    match node:
        case Product((Name(name), Group("()", _) as point)) if name.isupper():
            return Relation("=", Name(name), point)
    return node


def _is_chain(node: Node) -> bool:
    return isinstance(node, Group) and node.kind == "chain"


def _to_compare(a: Node, b: Node) -> Iterator[tuple[Node, Node]]:
    """Yield pairs of spellings that are all equal if every spelling of one value is equal to every one of the other."""
    left = a.items if isinstance(a, Group) and a.kind == "chain" else (a,)
    right = b.items if isinstance(b, Group) and b.kind == "chain" else (b,)
    yield from ((item, right[0]) for item in left)
    yield from ((left[0], item) for item in right[1:])


def _compare_spellings(a: Node, b: Node, scalars: ScalarTest) -> bool | None:
    """Compare two spellings, of which one may be rounded; it must then be the other to its last digit."""
    match a, b:
        case Call("about", _), Call("about", _):
            return canonical(a) == canonical(b)
        case Call("about", (rounded,)), exact:
            return is_scalar(exact) and not names(exact) and is_rounded(rounded, exact)
        case exact, Call("about", (rounded,)):
            return is_scalar(exact) and not names(exact) and is_rounded(rounded, exact)
    return _compare(a, b, scalars)


def _as_tuple(node: Node) -> Node:
    """Return a column as the tuple of its entries."""
    if isinstance(node, Matrix) and len(node.rows) > 1 and len(node.rows[0]) == 1:
        return Group("()", children(node))
    return node


def _compare_with_value(relation: Relation, value: Node, scalars: ScalarTest) -> bool | None:
    """Compare ``x = 5`` with ``5``: only beside a mere label does the right side stand for the answer."""
    if relation.operator not in ("=", "in") or canonical(relation.left) == canonical(relation.right):
        return False
    if isinstance(value, Name) and relation.left == Name(CHOICE + value.name):
        return True
    if not _is_name(relation):
        return False
    if isinstance(value, Group) and value.kind in _UNORDERED:
        relation = numbered(relation) or relation
    return _compare(relation.right, value, scalars)


def _wraps(relation: Relation) -> bool:
    """Whether the left side is the letter of a choice, or names a whole relation: ``the equation is y = 2x``."""
    named = isinstance(relation.left, Name) and relation.operator == "="
    return named and (isinstance(relation.right, Relation) or canonical(relation.left).startswith("<" + CHOICE))


def _is_name(relation: Relation) -> bool:
    """Whether the left side only names the right one, as the power of a letter names a matrix (``A^{-1}``)."""
    power = getattr(relation.left, "base", None)
    if isinstance(power, Name) and isinstance(relation.right, Matrix):
        return True
    return is_label(relation.left) and not (
        isinstance(relation.left, Call) and names(relation.left) & names(relation.right)
    )


def _compare_relations(a: Relation, b: Relation, scalars: ScalarTest) -> bool | None:
    if a.operator != b.operator:
        return False
    a, b = in_order(a), in_order(b)
    if isinstance(a.left, Name) != isinstance(b.left, Name):  # x_1 = 2, x_2 = 3 and x = 2, 3
        a, b = numbered(a) or a, numbered(b) or b
    if canonical(a) == canonical(b):
        return True
    if a.operator in ("=", "in") and _is_name(a) and canonical(a.left) == canonical(b.left):
        return _compare(a.right, b.right, scalars)
    if a.operator == "in" or not all(map(is_scalar, (a.left, a.right, b.left, b.right))):
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
        if isinstance(a, Group) and isinstance(b, Group) and (_is_sequence(a) or _is_sequence(b)):
            pairs = zip(a.items, b.items, strict=False)
            return len(a.items) == len(b.items) and _all(_compare(x, y, scalars) for x, y in pairs)
        return _match(_members(a), _members(b), scalars)
    if left_kind != right_kind or not (isinstance(a, Group) and isinstance(b, Group)) or len(a.items) != len(b.items):
        return False
    if left_kind in ("union", "intersection"):
        return _match(list(a.items), list(b.items), scalars)
    return _all(_compare(x, y, scalars) for x, y in zip(a.items, b.items, strict=True))


def _compare_ratios(a: Node, b: Node, scalars: ScalarTest) -> bool | None:
    """Compare two ratios, which may be scaled, or a ratio of two with a quotient.

    A ratio with a zero is compared as it is written, and so are two that may be times of the day.
    """
    if not isinstance(a, Group):
        a, b = b, a
    if not isinstance(a, Group) or a.kind != "ratio" or not all(map(is_scalar, a.items)):
        return False
    zero = any(exact_value(item) == 0 for item in a.items)
    if not isinstance(b, Group):
        return (
            not zero and is_scalar(b) and len(a.items) == 2 and scalars(Product((a.items[0], inverse(a.items[1]))), b)
        )
    if b.kind != "ratio" or len(a.items) != len(b.items) or not all(map(is_scalar, b.items)):
        return False
    if zero or any(exact_value(item) == 0 for item in b.items) or (_is_time(a) and _is_time(b)):
        return _all(scalars(x, y) for x, y in zip(a.items, b.items, strict=True))
    first, other = a.items[0], b.items[0]
    return _all(
        scalars(Product((x, other)), Product((y, first))) for x, y in zip(a.items[1:], b.items[1:], strict=True)
    )


def _is_time(ratio: Group) -> bool:
    """Whether a ratio may be a time of the day, ``3:45``; below ten minutes it has one digit here as a ratio has."""
    values = list(map(exact_value, ratio.items))
    hour, minute = values[0], values[1]
    if len(values) != 2 or hour is None or minute is None:
        return False
    return hour.denominator == minute.denominator == 1 and 0 <= hour < 24 and 10 <= minute < 60


def _is_sequence(group: Group) -> bool:
    return group.kind == "list" and is_sequence(list(map(canonical, group.items)))


def _members(node: Node) -> list[Node]:
    """Return the members of a set or list, of any other node itself. In a set each counts once."""
    if not isinstance(node, Group) or node.kind not in _UNORDERED:
        return [node]
    members = []
    for item in node.items:
        members += _members(item) if isinstance(item, Group) and item.kind == "list" else [item]
    return list({canonical(member): member for member in members}.values()) if node.kind == "set" else members


def _is_set(node: Node) -> bool:
    return isinstance(node, Group) and node.kind == "set"


def _match(left: list[Node], right: list[Node], scalars: ScalarTest) -> bool | None:
    """Pair off equal items. Equality being an equivalence relation, taking the first equal partner loses nothing."""
    if len(left) != len(right):
        return False
    if scalars is _cheap_scalars and len(left) > _MATCHED_CHEAPLY:
        return True if sorted(map(canonical, left)) == sorted(map(canonical, right)) else None
    remaining = list(right)
    doubtful = False
    for item in sorted(left, key=canonical):
        verdicts = [_is_set(item) == _is_set(other) and _compare(item, other, scalars) for other in remaining]
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
