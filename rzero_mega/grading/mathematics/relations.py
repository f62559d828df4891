"""What equations, inequalities, lists and plus-minus signs mean as answers: values, intervals, sets of values."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

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
    Relation,
    Sum,
    Unreadable,
    names,
    rebuilt,
    walk,
)
from rzero_mega.grading.mathematics.exact import exact_value

INFINITY = Constant("infinity")
MINUS_INFINITY = Product((MINUS_ONE, INFINITY))
REALS = Group("()", (MINUS_INFINITY, INFINITY))
_INTERVALS = ("()", "(]", "[)", "[]")
_MIRRORED = {"()": "()", "[]": "[]", "(]": "[)", "[)": "(]"}
_SIGNS = ("plus_minus", "minus_plus")
_COORDINATES = frozenset("xyz")


def chain(sides: list[Node], operators: list[str]) -> Node:
    """Return the meaning of ``sides[0] operators[0] sides[1] ...``.

    ``x = 1/4 = 0.25`` says that x is a number in two spellings, a "chain", of which each must be right. An inequality
    that bounds one variable says that the variable is in an interval. Raises `Unreadable` for any other chain.
    """
    if not operators:
        return sides[0]
    if set(operators) <= {"=", "~"}:
        return _equal(sides, operators)
    first, last = sides[0], sides[-1]
    if len(operators) == 1 and isinstance(first, Name):
        if operators[0] == "in" and isinstance(last, Group) and last.kind in ("set", "list"):
            return Relation("=", first, last)  # one of these: as x = 1 or x = 2 has it
        if operators[0] == "in":
            return Relation("in", first, last)
        if operators[0] in ("!=", "notin") and not names(last):
            return Relation("in", first, without(REALS, last))
    if operators == ["!="]:
        return Relation("!=", first, last)
    if set(operators) <= {">", ">="}:
        sides, operators = sides[::-1], [operator.replace(">", "<") for operator in operators[::-1]]
    if not set(operators) <= {"<", "<="} or len(operators) > 2:
        raise Unreadable("chain of relations")
    kind = ("(" if operators[0] == "<" else "[") + (")" if operators[-1] == "<" else "]")
    if len(operators) == 2:
        solved = _solved(sides[1], sides[0], sides[2], kind)
        if solved is None:
            raise Unreadable("chain of inequalities")
        return solved
    below = _solved(sides[0], MINUS_INFINITY, sides[1], "(" + kind[1])
    return below or _solved(sides[1], sides[0], INFINITY, kind[0] + ")") or Relation(operators[0], *sides)


def _equal(sides: list[Node], operators: list[str]) -> Node:
    parts = sides[:1] + [
        _rounded(side) if sign == "~" else side for side, sign in zip(sides[1:], operators, strict=True)
    ]
    if operators == ["~"] and is_label(sides[0]):
        parts = sides
    if is_label(parts[-1]) and not is_label(parts[0]):
        parts = parts[::-1]
    first, rest = parts[0], parts[1:]
    if not is_label(first) and first != rest[0] and not any(map(names, parts)):
        return Group("chain", tuple(parts))
    return Relation("=", first, rest[0] if len(rest) == 1 else Group("chain", tuple(rest)))


def _rounded(node: Node) -> Node:
    if isinstance(node, Quantity):
        return Quantity(_rounded(node.value), node.unit)
    return Call("about", (node,))


def without(whole: Node, excluded: Node) -> Node:
    """Return a set without some numbers: the reals without rational ones as intervals, else as a difference."""
    points = excluded.items if isinstance(excluded, Group) and excluded.kind in ("set", "list") else (excluded,)
    values = [exact_value(_with_sign(point, sign)) for point in points for sign in (1, -1)[: 1 + has_sign(point)]]
    known = sorted({value for value in values if value is not None})
    if whole != REALS or None in values or not known:
        return Group("difference", (whole, excluded if whole != REALS else Group("set", points)))
    bounds: list[Node] = [MINUS_INFINITY, *map(Number, known), INFINITY]
    return Group("union", tuple(Group("()", pair) for pair in pairwise(bounds)))


def _solved(middle: Node, low: Node, high: Node, kind: str) -> Node | None:
    """Return ``x in ...`` for ``low < middle < high``: of the variable, a linear expression, or the modulus of one.

    None if the middle is anything else, or a bound that has to be computed with isn't rational.
    """
    if isinstance(middle, Name):
        return None if names(low) | names(high) else Relation("in", middle, Group(kind, (low, high)))
    inside = middle.arguments[0] if isinstance(middle, Call) and middle.function == "abs" else middle
    ends, variables = _ends(Group(kind, (low, high))), names(inside)
    line = _linear(inside, min(variables)) if len(variables) == 1 else None
    if ends is None or line is None or not line[0]:
        return None
    least, most = ends
    if inside is middle:
        parts = [(kind, least, most)]
    elif least is None and most is not None and most > 0:
        parts = [("[]" if kind[1] == "]" else "()", -most, most)]
    elif least is not None and least >= 0:
        parts = [(_MIRRORED[kind], None if most is None else -most, -least), (kind, least, most)]
    else:
        return None
    found = [_interval(*_moved(*part, *line)) for part in parts]
    return Relation("in", Name(min(variables)), found[0] if len(found) == 1 else Group("union", tuple(found)))


_Ends = tuple[Fraction | None, Fraction | None]


def _ends(node: Node) -> _Ends | None:
    """Return the rational ends of an interval, None for an infinite one; None if it is none or has others."""
    if not (isinstance(node, Group) and node.kind in _INTERVALS and len(node.items) == 2):
        return None
    low, high = map(exact_value, node.items)
    known = (low is not None or node.items[0] == MINUS_INFINITY) and (high is not None or node.items[1] == INFINITY)
    return (low, high) if known else None


def _interval(kind: str, low: Fraction | None, high: Fraction | None) -> Group:
    return Group(kind, (MINUS_INFINITY if low is None else Number(low), INFINITY if high is None else Number(high)))


def _moved(
    kind: str, low: Fraction | None, high: Fraction | None, slope: Fraction, constant: Fraction
) -> tuple[str, Fraction | None, Fraction | None]:
    """Return the interval of x for which ``slope * x + constant`` is in this one."""
    first, last = (None if end is None else (end - constant) / slope for end in (low, high))
    return (kind, first, last) if slope > 0 else (_MIRRORED[kind], last, first)


def _linear(node: Node, name: str) -> tuple[Fraction, Fraction] | None:
    """Return the slope and the constant of a linear expression with rational coefficients; None if it is another."""
    value = exact_value(node)
    if value is not None:
        return Fraction(0), value
    match node:
        case Name(own) if own == name:
            return Fraction(1), Fraction(0)
        case Sum(parts) | Product(parts):
            adds = isinstance(node, Sum)
            slope, constant = Fraction(0), Fraction(0 if adds else 1)
            for line in (_linear(part, name) for part in parts):
                if line is None or (not adds and slope and line[0]):
                    return None
                if adds:
                    slope, constant = slope + line[0], constant + line[1]
                else:
                    slope, constant = slope * line[1] + constant * line[0], constant * line[1]
            return slope, constant
    return None


def difference(relation: Relation) -> Node:
    """Return the left side minus the right one."""
    return Sum((relation.left, Product((MINUS_ONE, relation.right))))


def gather(items: list[Node], connectors: set[str]) -> Node:
    """Return what a list of answers means that `connectors` (``, ; and or``) join.

    ``x = 2, x = -2`` and ``x = 2, -2`` are ``x =`` the list of both, ``x = 2, y = 3`` is ``(x, y) = (2, 3)``.
    Intervals and points joined by "or" are their union, inequalities joined by "and" the intersection.
    """
    if len(items) == 1 or (
        "or" in connectors and None not in (found := set(map(exact_value, items))) and len(found) == 1
    ):
        return items[0]  # 1/2 or 0.5
    if "or" in connectors and all(isinstance(item, Group) and item.kind in _INTERVALS for item in items):
        return Group("union", tuple(items))
    relations = [item for item in items if isinstance(item, Relation) and item.operator in ("in", "=")]
    one = len(relations) == len(items) and isinstance(relations[0].left, Name)
    one = one and all(item.left == relations[0].left for item in relations)
    if one and any(item.operator == "in" for item in relations):
        sets = [item.right if item.operator == "in" else Group("set", (item.right,)) for item in relations]
        both = None if "or" in connectors else intersection(sets)
        apart = "or" in connectors or (connectors == {","} and both is None and all(map(_ends, sets)))
        return Relation("in", relations[0].left, both or Group("union" if apart else "intersection", tuple(sets)))
    if all(isinstance(item, Relation) and item.operator == "=" for item in items):
        system = _system(relations)
        if system is not None and ("or" not in connectors or numbered(system)):
            return system
    others = Group("union" if "or" in connectors and relations else "list", tuple(items))
    return _values_of_one(items) or others


def _values_of_one(items: list[Node]) -> Node | None:
    """Return ``x =`` the values for ``x = 2, x = -2`` and ``x = 2, -2``; what is left for ``x != 2, 3``."""
    first = items[0]
    if not isinstance(first, Relation) or not isinstance(first.left, Name | Group):
        return None
    same = [isinstance(item, Relation) and (item.left, item.operator) == (first.left, first.operator) for item in items]
    rest = [getattr(item, "right", item) if fits else item for item, fits in zip(items, same, strict=True)][1:]
    if any(isinstance(item, Relation) for item in rest):
        return None
    if first.operator == "=":
        return Relation("=", first.left, Group("list", (first.right, *rest)))
    holes = _holes(first.right) if first.operator == "in" else None
    return Relation("in", first.left, without(REALS, Group("set", (*holes, *rest)))) if holes else None


def _holes(node: Node) -> list[Node] | None:
    """Return the numbers that a union of open intervals over all reals leaves out; None if it is anything else."""
    if not (isinstance(node, Group) and node.kind == "union"):
        return None
    ends = [item.items for item in node.items if isinstance(item, Group) and item.kind == "()"]
    whole = len(ends) == len(node.items) and (ends[0][0], ends[-1][1]) == REALS.items
    return [end[1] for end in ends[:-1]] if whole and all(a[1] == b[0] for a, b in pairwise(ends)) else None


def intersection(parts: list[Node]) -> Node | None:
    """Return the interval that lies in all of these, or the reals without all that they leave out; None if unknown."""
    holes = [_holes(part) for part in parts]
    if all(holes):
        return without(REALS, Group("set", tuple(point for found in holes for point in found or ())))
    ends = [(part.kind, *found) for part in parts if isinstance(part, Group) and (found := _ends(part)) is not None]
    if len(ends) < len(parts):
        return None
    low = max(((end, kind[0] == "(") for kind, end, _ in ends if end is not None), default=None)
    high = min(((end, kind[1] == "]") for kind, _, end in ends if end is not None), default=None)
    if low and high and low[0] >= high[0]:
        return None
    kind = ("(" if low is None or low[1] else "[") + ("]" if high and high[1] else ")")
    return _interval(kind, low and low[0], high and high[0])


def _system(equations: list[Relation]) -> Relation | None:
    """Return ``(x, y) = (2, 3)`` for ``x = 2, y = 3``."""
    unknowns = [equation.left for equation in equations if isinstance(equation.left, Name)]
    if len(unknowns) != len(equations) or len(set(unknowns)) != len(equations):
        return None
    values = tuple(equation.right for equation in equations)
    return in_order(Relation("=", Group("()", tuple(unknowns)), Group("()", values)))


def numbered(relation: Relation) -> Relation | None:
    """Return ``x =`` the list of values for ``(x_1, x_2) = (2, 3)``: the numbers may be left out; None for others."""
    if not (isinstance(relation.left, Group) and isinstance(relation.right, Group) and relation.right.kind == "()"):
        return None
    stems = {getattr(item, "name", "").partition("_")[0] for item in relation.left.items}
    if len(stems) > 1 or len(relation.left.items) < 2 or relation.left.kind != "()":
        return None
    return Relation("=", Name(stems.pop()), Group("list", relation.right.items))


def in_order(relation: Relation) -> Relation:
    """Put the unknowns of ``(y, x) = (3, 2)`` in alphabetical order, and their values with them."""
    left, right = relation.left, relation.right
    if not (isinstance(left, Group) and isinstance(right, Group) and left.kind == right.kind == "()"):
        return relation
    if len(left.items) != len(right.items) or not all(isinstance(item, Name) for item in left.items):
        return relation
    pairs = sorted(zip(left.items, right.items, strict=True), key=lambda pair: min(names(pair[0])).lstrip("\\"))
    return Relation("=", Group("()", tuple(name for name, _ in pairs)), Group("()", tuple(value for _, value in pairs)))


def expand_signs(node: Node) -> Node:
    """Return a whole answer with its plus-minus signs expanded: the list of the upper and the lower reading.

    Raises `Unreadable` for a sign inside a tuple, interval or matrix, where it isn't clear what is meant.
    """
    if not has_sign(node):
        return node
    match node:
        case Relation("=", left, right) if not has_sign(left):
            return Relation("=", left, expand_signs(right))
        case Quantity(value, unit):
            return Quantity(expand_signs(value), unit)
        case Group("list" | "set" as kind, items):
            return Group(kind, tuple(expand_signs(item) for item in items))
        case Group("()" as kind, items) if sum(has_sign(item) for item in items) > 1:
            raise Unreadable("more than one plus-minus sign in a tuple")
    return Group("list", (_with_sign(node, 1), _with_sign(node, -1)))


def has_sign(node: Node) -> bool:
    """Whether a plus-minus sign stands in `node`."""
    return any(isinstance(part, Call) and part.function in _SIGNS for part in walk(node))


def _with_sign(node: Node, sign: int) -> Node:
    match node:
        case Call(function, (operand,)) if function in _SIGNS:
            value = sign if function == "plus_minus" else -sign
            return Product((Number(Fraction(value)), _with_sign(operand, sign)))
        case Group(kind, _) if kind != "()":
            raise Unreadable("plus-minus around brackets")
        case Matrix() | Relation():
            raise Unreadable("plus-minus around brackets")
    return rebuilt(node, lambda part: _with_sign(part, sign))


def is_label(node: Node) -> bool:
    """Whether `node` only names what is asked for, so that an answer may leave it out.

    Like the left sides of ``x = 5``, ``a + b = 5``, ``f(2) = 5``, ``P(X = 1) = 1/2``, ``\\frac{dy}{dx} = 2x``,
    ``(x, y) = (1, 2)``, ``|AB| = 5`` and ``\\sin\\theta = 1/2``; not that of ``x + y = 5``, which is a line.
    """
    match node:
        case Name() | Constant("e" | "i"):
            return True
        case Sum(parts) | Product(parts):
            return all(map(_is_part, parts)) and not names(node) <= _COORDINATES
        case Group("()" | "ratio", items):
            return all(isinstance(item, Name) for item in items)
        case Call("abs", (Name(name),)):
            return len(name) > 1
        case Call("sin" | "cos" | "tan", (Name(),)):
            return True
    return False


def _is_part(node: Node) -> bool:
    """Whether `node` may be a part of a label: ``a``, ``bc``, one over ``c``."""
    match node:
        case Name() | Constant("e" | "i"):
            return True
        case Power(base, exponent):
            return exponent == MINUS_ONE and is_label(base)
        case Product(factors):
            return all(map(_is_part, factors))
    return False
