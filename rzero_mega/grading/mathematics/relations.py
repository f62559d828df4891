"""What equations, inequalities, lists and plus-minus signs mean as answers: values, intervals, sets of values."""

from __future__ import annotations

from fractions import Fraction

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
    Relation,
    Sum,
    Unreadable,
    names,
    substituted,
    walk,
)
from rzero_mega.grading.mathematics.exact import exact_value
from rzero_mega.grading.mathematics.realsets import real_set

_INFINITY = Constant("infinity")
_MINUS_INFINITY = Product((MINUS_ONE, _INFINITY))
REALS = Group("()", (_MINUS_INFINITY, _INFINITY))
_INTERVALS = ("()", "(]", "[)", "[]")
_SIGNS = ("plus_minus", "minus_plus")


def chain(sides: list[Node], operators: list[str]) -> Node:
    """Return the meaning of ``sides[0] operators[0] sides[1] ...``.

    ``a = b = c`` is ``a = c``, and what follows "approximately" goes unless it is all there is. An inequality that
    bounds one variable says that the variable is in an interval. Raises `Unreadable` for any other chain.
    """
    if "~" in operators:
        sides, operators = _without_approximation(sides, operators)
    if not operators:
        return sides[0]
    if set(operators) == {"="}:
        return Relation("=", sides[0], sides[-1])
    if operators == ["in"]:
        if not isinstance(sides[0], Name):
            raise Unreadable("membership of an expression")
        if isinstance(sides[1], Group) and sides[1].kind == "set":
            return Relation("=", sides[0], sides[1])  # one of these: as x = 1 or x = 2 has it
        return Relation("in", sides[0], sides[1])
    if operators[0] in (">", ">="):
        if any(operator not in (">", ">=") for operator in operators):
            raise Unreadable("mixed inequalities")
        sides, operators = sides[::-1], [operator.replace(">", "<") for operator in operators[::-1]]
    if operators in (["!="], ["<"], ["<="]):
        return _as_interval(Relation(operators[0], sides[0], sides[1]))
    if len(operators) == 2 and set(operators) <= {"<", "<="} and isinstance(sides[1], Name):
        kind = ("(" if operators[0] == "<" else "[") + (")" if operators[1] == "<" else "]")
        return Relation("in", sides[1], Group(kind, (sides[0], sides[2])))
    raise Unreadable("chain of relations")


def _without_approximation(sides: list[Node], operators: list[str]) -> tuple[list[Node], list[str]]:
    """Leave out an approximation of what is given exactly, as in ``x = \\sqrt{2} \\approx 1.41``."""
    cut = operators.index("~")
    if cut == 0 and is_label(sides[0]):
        return sides[:2], ["="]
    return sides[: cut + 1], operators[:cut]


def _as_interval(relation: Relation) -> Node:
    left, right = relation.left, relation.right
    if relation.operator == "!=":
        if isinstance(left, Name) and not names(right):
            return Relation("in", left, Group("difference", (REALS, Group("set", (right,)))))
        return relation
    if isinstance(left, Name) and not names(right):
        return _below(left, right, relation.operator)
    if isinstance(right, Name) and not names(left):
        return _above(right, left, relation.operator)
    return _solved(relation) or _solved_distance(relation) or relation


def _below(name: Name, bound: Node, operator: str) -> Node:
    return Relation("in", name, Group("(]" if operator == "<=" else "()", (_MINUS_INFINITY, bound)))


def _above(name: Name, bound: Node, operator: str) -> Node:
    return Relation("in", name, Group("[)" if operator == "<=" else "()", (bound, _INFINITY)))


def difference(relation: Relation) -> Node:
    """Return the left side minus the right one."""
    return Sum((relation.left, Product((MINUS_ONE, relation.right))))


def _solved(relation: Relation) -> Node | None:
    """Solve a linear inequality in one variable with rational coefficients; None if it is another one."""
    variables = names(relation)
    vanishing = difference(relation)
    if len(variables) != 1 or not _is_linear(vanishing):
        return None
    variable = next(iter(variables))
    at_zero, at_one = (exact_value(substituted(vanishing, variable, Number(Fraction(value)))) for value in (0, 1))
    if at_zero is None or at_one is None or at_zero == at_one:
        return None
    slope = at_one - at_zero
    return (_below if slope > 0 else _above)(Name(variable), Number(-at_zero / slope), relation.operator)


def _solved_distance(relation: Relation) -> Node | None:
    """Solve ``|x - 1| < 2`` and ``|x| > 4``: a linear expression, and a positive rational number."""
    inside = isinstance(relation.left, Call)
    distance, bound = (relation.left, relation.right) if inside else (relation.right, relation.left)
    radius = exact_value(bound)
    if not (isinstance(distance, Call) and distance.function == "abs") or radius is None or radius <= 0:
        return None
    signed = distance.arguments[0]
    sides = [
        _solved(
            Relation(relation.operator, signed, Number(radius))
            if inside
            else Relation(relation.operator, Number(radius), signed)
        ),
        _solved(
            Relation(relation.operator, Number(-radius), signed)
            if inside
            else Relation(relation.operator, signed, Number(-radius))
        ),
    ]
    found = [side for side in sides if isinstance(side, Relation)]
    if len(found) < 2:
        return None
    return Relation("in", found[0].left, Group("intersection" if inside else "union", (found[0].right, found[1].right)))


def _is_linear(node: Node) -> bool:
    match node:
        case Number() | Name():
            return True
        case Sum(terms):
            return all(map(_is_linear, terms))
        case Product(factors):
            return sum(bool(names(factor)) for factor in factors) <= 1 and all(map(_is_linear, factors))
        case Power():
            return not names(node)
        case _:
            return False


def gather(items: list[Node], connectors: set[str]) -> Node:
    """Return what a list of answers means that `connectors` (``, ; and or``) join.

    ``x = 2, x = -2`` and ``x = 2, -2`` are ``x =`` the list of both, ``x = 2, y = 3`` is ``(x, y) = (2, 3)``.
    Intervals joined by "or" are their union, inequalities joined by "and" the intersection.
    """
    if len(items) == 1:
        return items[0]
    if connectors <= {"or", ","} and "or" in connectors and (union := _combined("union", items)) is not None:
        return union
    if connectors == {"and"} and all(isinstance(item, Relation) for item in items):
        intersection = _combined("intersection", items)
        if intersection is not None:
            return intersection
    if connectors == {","}:
        both = _combined("intersection", items)
        if isinstance(both, Relation):
            return both if real_set(both.right) else _combined("union", items) or both
    if all(isinstance(item, Relation) and item.operator == "=" for item in items):
        system = _system([item for item in items if isinstance(item, Relation)])
        if system is not None:
            return system
    first = items[0]
    if isinstance(first, Relation) and first.operator == "=" and isinstance(first.left, Name | Group):
        values = [
            item.right if isinstance(item, Relation) and item.operator == "=" and item.left == first.left else item
            for item in items
        ]
        if not any(isinstance(value, Relation) for value in values):
            return Relation("=", first.left, Group("list", tuple(values)))
    return Group("list", tuple(items))


def _combined(operation: str, items: list[Node]) -> Node | None:
    """Return the union or intersection of intervals, given as such or as inequalities in one variable."""
    if all(isinstance(item, Group) and item.kind in _INTERVALS for item in items):
        return Group(operation, tuple(items)) if operation == "union" else None
    sets = [item for item in items if isinstance(item, Relation) and item.operator == "in"]
    if len(sets) == len(items) and all(item.left == sets[0].left for item in sets):
        return Relation("in", sets[0].left, Group(operation, tuple(item.right for item in sets)))
    return None


def _system(equations: list[Relation]) -> Node | None:
    """Return ``(x, y) = (2, 3)`` for ``x = 2, y = 3``; ``x_1 = 2, x_2 = 3`` are two values of x."""
    unknowns = [equation.left for equation in equations if isinstance(equation.left, Name)]
    if len(unknowns) != len(equations) or len(set(unknowns)) != len(equations):
        return None
    values = tuple(equation.right for equation in equations)
    stems = {unknown.name.partition("_")[0] for unknown in unknowns}
    if len(stems) == 1:
        return Relation("=", Name(stems.pop()), Group("list", values))
    return in_order(Relation("=", Group("()", tuple(unknowns)), Group("()", values)))


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
    if not _has_sign(node):
        return node
    match node:
        case Relation("=", left, right):
            return Relation("=", left, expand_signs(right))
        case Group("list" | "set" as kind, items):
            return Group(kind, tuple(expand_signs(item) for item in items))
        case Group("()" as kind, items) if sum(_has_sign(item) for item in items) > 1:
            raise Unreadable("more than one plus-minus sign in a tuple")
    return Group("list", (_with_sign(node, 1), _with_sign(node, -1)))


def _has_sign(node: Node) -> bool:
    return any(isinstance(part, Call) and part.function in _SIGNS for part in walk(node))


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
        case Group("()" as kind, items):
            return Group(kind, tuple(_with_sign(item, sign) for item in items))
        case Group() | Matrix() | Relation():
            raise Unreadable("plus-minus around brackets")
        case _:
            return node


def is_label(node: Node) -> bool:
    """Whether `node` only names what is asked for.

    Like the left sides of ``x = 5``, ``a + b = 5``, ``f(2) = 5``, ``f^{-1}(x) = 2x``, ``P(X = 1) = 1/2``,
    ``\\frac{dy}{dx} = 2x``, ``(x, y) = (1, 2)``, ``|AB| = 5`` and ``\\sin\\theta = 1/2``.
    """
    match node:
        case Name():
            return True
        case Constant(name):
            return name != "infinity"
        case Sum(terms):
            return all(map(is_label, terms))
        case Product((Name(), argument)) if _is_argument(argument):
            return True
        case Product((Power(Name(), exponent), argument)) if exponent == MINUS_ONE and _is_argument(argument):
            return True
        case Product(factors):
            return all(
                is_label(factor)
                or (isinstance(factor, Power) and factor.exponent == MINUS_ONE and is_label(factor.base))
                for factor in factors
            )
        case Group("()" | "ratio", items):
            return all(isinstance(item, Name) for item in items)
        case Call("abs", (Name(name),)):
            return len(name) > 1
        case Call(function, (Name(),)):
            return function in ("sin", "cos", "tan")
        case _:
            return False


def _is_argument(node: Node) -> bool:
    """Whether `node` may be what a function is applied to, in brackets, rather than a factor."""
    match node:
        case Number() | Name() | Relation():
            return True
        case Group("()" | "union" | "intersection" | "difference", items):
            return all(map(_is_argument, items))
        case _:
            return False
