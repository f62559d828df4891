r"""Names: letters with their marks, and what is applied to something, which has no part in arithmetic: ``I(0)``."""

from __future__ import annotations

from rzero_mega.grading.expressions.tree import Constant, Group, Name, Node, Power, Product, Sum, Unreadable
from rzero_mega.grading.mathematics.exact import canonical
from rzero_mega.grading.syntax.cursor import Cursor

_FUNCTION_LETTERS = "fgFG"
ACCENTS = {
    **{accent: accent for accent in ("bar", "hat", "tilde", "vec", "dot", "ddot", "angle", "triangle")},
    "overline": "bar", "widehat": "hat", "widetilde": "tilde", "overleftrightarrow": "line",
}  # fmt: skip


def read_name(cursor: Cursor, name: str) -> Node:
    """Read what goes on with a letter: its subscript, primes, and what it is applied to. Alone, e and i are numbers."""
    alone = not cursor.at("_", "'") and not (cursor.at("(") and cursor.peek(2).text == ")")
    if name in ("e", "i") and alone:
        return Constant(name)
    if cursor.skip("_"):
        name += "_" + cursor.subscript()
    while cursor.at("'"):
        name += cursor.next().text
    return read_application(cursor, name)


def read_application(cursor: Cursor, name: str) -> Node:
    """Read ``f(x)``, ``I(0)``, ``P(X > 1)`` and ``y^{(4)}(0)`` as one name.

    A letter before a sum in brackets is a factor, ``a(b + c)``, but for the letters of functions. A letter before
    several items names a point.
    """
    start = cursor.position
    function = name[0] in _FUNCTION_LETTERS
    mark = ""
    if cursor.at("^") and (function or (cursor.peek(1).text, cursor.peek(2).text) == ("{", "(")):
        cursor.next()
        mark = "^" + canonical(cursor.exponent())
    if not cursor.at("("):
        # The fourth derivative, and no power, has its number in brackets: y^{(4)}.
        order = [token.text for token in cursor.tokens[start : start + 6]]
        if mark and order[1:3] + order[4:6] == ["{", "(", ")", "}"] and order[3].isdigit():
            return Name(name + mark)
        cursor.position = start
        return Name(name)
    argument = cursor.primary()
    several = isinstance(argument, Group) and argument.kind == "()" and len(argument.items) > 1
    if not function and (several or isinstance(argument, Sum)):
        cursor.position = start
        return Name(name)
    return Name(f"{name}{mark}({canonical(argument)})")


def read_accented(cursor: Cursor, accent: str) -> Node:
    r"""Read ``\vec{v}``, ``\overline{AB}``, ``\angle ABC``: the mark is part of the name."""
    token = cursor.peek(1) if cursor.at("{") else cursor.peek()
    if token.text == "=":
        return Name(accent)
    node = cursor.argument()
    letters = node.factors if isinstance(node, Product) else (node,)
    if isinstance(node, Constant) or token.text in ("e", "i"):
        return read_application(cursor, f"{accent} {token.text}")
    if not all(isinstance(letter, Name) for letter in letters):
        raise Unreadable("accent on an expression")
    return read_application(cursor, f"{accent} {''.join(getattr(letter, 'name', '') for letter in letters)}")


def derivative(above: Node, below: Node) -> Name | None:
    r"""Return the name of ``\frac{dy}{dx}`` or ``\frac{d^2y}{dx^2}``, in which d is no factor; None for others."""
    top = above.factors if isinstance(above, Product) else (above,)
    bottom = below.factors if isinstance(below, Product) else (below,)
    first = top[0].base if isinstance(top[0], Power) else top[0]
    if first != Name("d") or bottom[0] != Name("d") or len(bottom) != 2 or len(top) > 2:
        return None
    return Name(f"derivative {canonical(above)} by {canonical(bottom[1])}")
