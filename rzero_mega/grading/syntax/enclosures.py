r"""Sets in braces, and what stands between ``\begin`` and ``\end``."""

from __future__ import annotations

from rzero_mega.grading.expressions.building import determinant
from rzero_mega.grading.expressions.tree import Group, Matrix, Node, Relation, Unreadable
from rzero_mega.grading.mathematics.relations import gather
from rzero_mega.grading.syntax.cursor import Cursor, Level
from rzero_mega.grading.syntax.lexer import Token

_MATRICES = ("matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "vmatrix")


def items_of(node: Node) -> tuple[Node, ...]:
    """Return the items of a list, of any other node itself."""
    return node.items if isinstance(node, Group) and node.kind == "list" else (node,)


def read_set(cursor: Cursor) -> Node:
    r"""Read a set after its ``\\{``: members, or the condition of a set of numbers, ``x \\mid x > 3``."""
    if cursor.at("}"):
        cursor.next()
        return Group("set", ())
    start = cursor.position
    if _names_variable(cursor):
        inner = _condition(cursor)
        cursor.expect("}")
        return inner
    cursor.position = start
    inner = cursor.expression(Level.LIST)
    cursor.expect("}")
    return Group("set", items_of(inner))


def _names_variable(cursor: Cursor) -> bool:
    r"""Whether a set begins like ``x |`` or ``x \\in \\mathbb{R} :``, which a condition follows; skips that."""
    if cursor.next().kind != "name":
        return False
    if cursor.at("in"):
        cursor.next()
        if cursor.next() != Token("field", "R", None, cursor.tokens[cursor.position - 1].after_space):
            return False
    if not cursor.at("|", ":"):
        return False
    cursor.next()
    return True


def _condition(cursor: Cursor) -> Node:
    """Parse the condition of a set of numbers, which must come down to membership of a set."""
    inner = cursor.expression(Level.LIST)
    if not isinstance(inner, Relation) or inner.operator != "in":
        raise Unreadable("not a set of numbers")
    return inner


def read_environment(cursor: Cursor, opener: str) -> Node:
    r"""Read a matrix, a determinant or cases after the token ``\\begin{...}``."""
    kind = opener[opener.index("{") + 1 : -1]
    if not opener.startswith("\\begin") or kind not in (*_MATRICES, "cases"):
        raise Unreadable(f"unknown environment {kind}")
    level = Level.LIST if kind == "cases" else Level.SUM
    rows: list[list[Node]] = [[_cell(cursor, level)]]
    while True:
        token = cursor.next()
        if token.text == "&":
            rows[-1].append(_cell(cursor, level))
        elif token.text == "\\" and not cursor.peek().text.startswith("\\end"):
            rows.append([_cell(cursor, level)])
        elif token.text == f"\\end{{{kind}}}":
            break
        elif token.text != "\\":
            raise Unreadable("matrix does not end")
    if len({len(row) for row in rows}) != 1:
        raise Unreadable("rows of unequal length")
    if kind == "cases":
        if len(rows[0]) == 1:
            return gather([row[0] for row in rows], {"and"})
        return Group("cases", tuple(Group("()", tuple(row)) for row in rows))
    return determinant(rows) if kind == "vmatrix" else Matrix(tuple(map(tuple, rows)))


def _cell(cursor: Cursor, level: Level) -> Node:
    """Parse a cell of a matrix or a case; a comma at the end of a case says nothing."""
    if level == Level.SUM:
        return cursor.expression(Level.SUM)
    if cursor.at("if"):
        cursor.next()
    node = cursor.expression(Level.RELATION)
    if cursor.at(",", ";"):
        cursor.next()
    return node
