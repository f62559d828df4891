r"""Vectors written with unit vectors (``2\mathbf{i} + 3\mathbf{j}``), as their coordinates."""

from __future__ import annotations

from fractions import Fraction

from rzero_mega.grading.expressions.building import product
from rzero_mega.grading.expressions.tree import (
    ZERO,
    Group,
    Name,
    Node,
    Number,
    Product,
    Relation,
    Sum,
    Unreadable,
    names,
)

_AXES = ("axis i", "axis j", "axis k")


def in_coordinates(tree: Node) -> Node:
    """Return a tree with a sum of multiples of unit vectors replaced by the tuple of its coordinates.

    Raises `Unreadable` where a unit vector stands in anything but such a sum.
    """
    if names(tree).isdisjoint(_AXES):
        return tree
    if isinstance(tree, Relation) and names(tree.left).isdisjoint(_AXES):
        return Relation(tree.operator, tree.left, in_coordinates(tree.right))
    parts = _components(tree)
    axes = _AXES if _AXES[2] in parts else _AXES[:2]
    return Group("()", tuple(parts.get(axis, ZERO) for axis in axes))


def _components(node: Node) -> dict[str, Node]:
    match node:
        case Name(name) if name in _AXES:
            return {name: Number(Fraction(1))}
        case Sum(terms):
            sums: dict[str, list[Node]] = {}
            for term in terms:
                for axis, part in _components(term).items():
                    sums.setdefault(axis, []).append(part)
            return {axis: parts[0] if len(parts) == 1 else Sum(tuple(parts)) for axis, parts in sums.items()}
        case Product(factors):
            vectors = [factor for factor in factors if not names(factor).isdisjoint(_AXES)]
            if len(vectors) == 1:
                others = [factor for factor in factors if factor is not vectors[0]]
                return {axis: product([*others, part]) for axis, part in _components(vectors[0]).items()}
    raise Unreadable("unit vectors in something else than a sum")
