"""Sets of real numbers as sorted disjoint intervals, so that unlike spellings of one set compare as equal.

Bounds are put in order by their values in doubles; whether two of them are the same bound is for the caller's test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from rzero_mega.grading.expressions.tree import MINUS_ONE, Constant, Group, Node, Product, is_scalar, names, walk
from rzero_mega.grading.mathematics.numeric import values_in_doubles

MAX_PIECES = 64
_MINUS_INFINITY = Product((MINUS_ONE, Constant("infinity")))
_OPERATIONS = ("union", "intersection", "difference")
_INTERVALS = ("()", "(]", "[)", "[]")


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of an interval: its tree, its value in doubles, and whether it belongs to the interval."""

    node: Node
    value: float
    closed: bool


@dataclass(frozen=True, slots=True)
class Interval:
    """All numbers between two bounds; a single number has two closed bounds of one value."""

    low: Bound
    high: Bound


Intervals: TypeAlias = tuple[Interval, ...]


def is_operation(node: Node) -> bool:
    """Whether `node` is a union, an intersection or a difference."""
    return isinstance(node, Group) and node.kind in _OPERATIONS


def real_set(node: Node) -> Intervals | None:
    """Return the set of reals that `node` is, its intervals sorted and apart; None if it isn't one, or too large."""
    if not isinstance(node, Group):
        return None
    if node.kind in _OPERATIONS:
        parts = [real_set(item) for item in node.items]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts) or sum(map(len, known)) > MAX_PIECES:
            return None
        result = known[0]
        for part in known[1:]:
            result = _combined(node.kind, result, part)
        return result
    if node.kind == "set":
        points = [_bound(item, True) for item in node.items]
        found = [Interval(point, point) for point in points if point is not None]
        return _union(found) if len(found) == len(points) <= MAX_PIECES else None
    if node.kind in _INTERVALS and len(node.items) == 2:
        low, high = (_bound(item, node.kind[end] in "[]") for end, item in enumerate(node.items))
        if low is None or high is None or low.value > high.value or (low.value == high.value and node.kind != "[]"):
            return None
        return (Interval(low, high),)
    return None


def same_set(left: Intervals, right: Intervals, scalars: Callable[[Node, Node], bool | None]) -> bool | None:
    """Whether two sets are the same; `scalars` compares bounds, and says None where it can't tell."""
    if len(left) != len(right):
        return False
    doubtful = False
    for a, b in zip(left, right, strict=True):
        for end, other in ((a.low, b.low), (a.high, b.high)):
            if end.closed != other.closed:
                return False
            verdict = scalars(end.node, other.node)
            if verdict is False:
                return False
            doubtful = doubtful or verdict is None
    return None if doubtful else True


def _bound(node: Node, closed: bool) -> Bound | None:
    if not is_scalar(node) or names(node):
        return None
    if any(isinstance(part, Constant) and part.name == "infinity" for part in walk(node)):
        if isinstance(node, Constant):
            return Bound(node, math.inf, False)
        negative = isinstance(node, Product) and len(node.factors) == 2 and isinstance(node.factors[1], Constant)
        return Bound(node, -math.inf, False) if negative else None
    found = values_in_doubles(node)[0]
    if found is None or getattr(found.value, "imag", 0) != 0:
        return None
    return Bound(node, float(found.value.real), closed)


def _close(a: float, b: float) -> bool:
    return a == b or math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-15)


def _union(pieces: list[Interval]) -> Intervals:
    """Join what overlaps or touches."""
    joined: list[Interval] = []
    for piece in sorted(pieces, key=lambda piece: (piece.low.value, not piece.low.closed)):
        if joined and _touch(joined[-1].high, piece.low):
            last = joined[-1]
            joined[-1] = Interval(_closer(last.low, piece.low), _farther(last.high, piece.high))
        else:
            joined.append(piece)
    return tuple(joined)


def _touch(high: Bound, low: Bound) -> bool:
    return (high.closed or low.closed) if _close(high.value, low.value) else low.value < high.value


def _closer(first: Bound, second: Bound) -> Bound:
    """Of two lower bounds, of which `first` is not the greater, return the one that lets in more."""
    return second if _close(first.value, second.value) and second.closed else first


def _farther(first: Bound, second: Bound) -> Bound:
    if _close(first.value, second.value):
        return first if first.closed else second
    return first if first.value > second.value else second


def _complement(pieces: Intervals) -> Intervals:
    infinity = Bound(Constant("infinity"), math.inf, False)
    low = Bound(_MINUS_INFINITY, -math.inf, False)
    gaps = []
    for piece in pieces:
        gaps.append((low, replace(piece.low, closed=not piece.low.closed)))
        low = replace(piece.high, closed=not piece.high.closed)
    gaps.append((low, infinity))
    return tuple(Interval(low, high) for low, high in gaps if _nonempty(low, high))


def _nonempty(low: Bound, high: Bound) -> bool:
    if (math.isinf(low.value) and low.value > 0) or (math.isinf(high.value) and high.value < 0):
        return False
    return (low.closed and high.closed) if _close(low.value, high.value) else low.value < high.value


def _combined(kind: str, left: Intervals, right: Intervals) -> Intervals:
    match kind:
        case "union":
            return _union([*left, *right])
        case "intersection":
            return _complement(_union([*_complement(left), *_complement(right)]))
        case _:
            return _complement(_union([*_complement(left), *right]))
