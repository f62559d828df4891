r"""Sets in braces, and what stands between ``\begin`` and ``\end``."""

from __future__ import annotations

from rzero_mega.grading.expressions.tree import Group, Matrix, Node, Relation, Unreadable
from rzero_mega.grading.mathematics.relations import gather
from rzero_mega.grading.syntax.cursor import Cursor, Level

_MATRICES = ("matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix")


def items_of(node: Node) -> tuple[Node, ...]:
    """Return the items of a list, of any other node itself."""
    return node.items if isinstance(node, Group) and node.kind == "list" else (node,)


def read_set(cursor: Cursor) -> Node:
    r"""Read a set after its ``\\{``: members, or the condition of a set of numbers, ``x \\mid x > 3``."""
    if cursor.skip("}"):
        return Group("set", ())
    start = cursor.position
    if _names_variable(cursor):
        inner = cursor.expression(Level.LIST)
        if not isinstance(inner, Relation) or inner.operator != "in":
            raise Unreadable("not a set of numbers")
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
    if cursor.skip("in") and cursor.next().text != "bb R":
        return False
    return cursor.skip("|", ":")


def read_environment(cursor: Cursor, opener: str) -> Node:
    r"""Read a matrix or cases after the token ``\\begin{...}``."""
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
    return Matrix(tuple(map(tuple, rows)))


def _cell(cursor: Cursor, level: Level) -> Node:
    """Parse a cell of a matrix or a case; a comma at the end of a case says nothing."""
    if level == Level.SUM:
        return cursor.expression(Level.SUM)
    cursor.skip("if")
    node = cursor.expression(Level.RELATION)
    cursor.skip(",", ";")
    return node
