"""Sets of times as intervals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Interval = tuple[float, float]
"""From when until when."""


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The times that lie in any of them: disjoint, ascending, none of them empty."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if end <= start:
            continue
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def clipped(intervals: Iterable[Interval], window: Interval) -> list[Interval]:
    """What of them lies in the window."""
    found = ((max(start, window[0]), min(end, window[1])) for start, end in intervals)
    return [(start, end) for start, end in found if start < end]


def without(intervals: Iterable[Interval], others: Sequence[Interval]) -> list[Interval]:
    """The times of the first that lie in none of the others; both as `union` gives them."""
    found: list[Interval] = []
    first = 0
    for start, end in intervals:
        while first < len(others) and others[first][1] <= start:
            first += 1
        for other_start, other_end in others[first:]:
            if other_start >= end:
                break
            found.append((start, other_start))
            start = other_end
        found.append((start, end))
    return [(start, end) for start, end in found if start < end]


def length(intervals: Iterable[Interval]) -> float:
    """Of disjoint ones, in all."""
    return sum(end - start for start, end in intervals)
