"""Equations that define a function, whatever its argument is called: ``f(x) = 2x``, ``f(t) = 2t``, ``y = 2x``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rzero_mega.grading.expressions.tree import Name, Node, Relation, names, substituted

_FUNCTION_OF = re.compile(r"(?P<function>[fgFG]'*)<(?P<argument>\\?[a-zA-Z]+)>")
"""How the parser calls a function that is applied to a variable."""


@dataclass(frozen=True, slots=True)
class _Definition:
    function: str
    argument: str
    body: Node


def bodies(a: Relation, b: Relation) -> tuple[Node, Node] | None:
    """Return what two definitions of one function say about the same argument; None if they are none."""
    first, second = _definition(a), _definition(b)
    if first and second:
        captured = first.argument != second.argument and first.argument in names(second.body)
        if first.function != second.function or captured:
            return None
        return first.body, substituted(second.body, second.argument, Name(first.argument))
    if first:
        return _with_curve(first, b)
    return _with_curve(second, a) if second else None


def _definition(relation: Relation) -> _Definition | None:
    match = _FUNCTION_OF.fullmatch(relation.left.name) if isinstance(relation.left, Name) else None
    return _Definition(match["function"], match["argument"], relation.right) if match else None


def _with_curve(definition: _Definition, equation: Relation) -> tuple[Node, Node] | None:
    """Return the bodies of ``f(x) = ...`` and ``y = ...``."""
    if equation.left != Name("y") or not names(equation.right) <= {definition.argument}:
        return None
    return definition.body, equation.right
