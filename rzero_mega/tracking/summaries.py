"""Numbers out of manifests and metrics rows, in which any key may be missing or null."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

NOTHING = "\N{EN DASH}"


def scalar(values: Mapping[str, Any] | None, key: str) -> float | None:
    """A finite number, or None. A mapping with `mean` or `last` stands for that number."""
    value = values.get(key) if values else None
    if isinstance(value, Mapping):
        value = value.get("mean", value.get("last"))
    return float(value) if value is not None and is_number(value) else None


def is_number(value: Any) -> bool:
    """Whether this is a finite int or float (and no bool)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def flat_numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """All finite numbers of a nested mapping as `key` or `key/below`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat_numbers(value, f"{prefix}{key}/")
        elif is_number(value):
            yield prefix + str(key), value


def histogram(summary: Mapping[str, Any] | None, key: str) -> tuple[list[float], list[float]] | None:
    """Edges (n + 1, ascending) and counts (n) of a histogram in a summary, or None where it is missing or malformed."""
    value = summary.get(key) if summary else None
    if not isinstance(value, Mapping):
        return None
    edges, counts = value.get("edges"), value.get("counts")
    if not isinstance(edges, list) or not isinstance(counts, list) or not counts or len(edges) != len(counts) + 1:
        return None
    if not all(is_number(number) for number in (*edges, *counts)) or edges != sorted(set(edges)):
        return None
    return edges, counts


def duration(seconds: float) -> str:
    """Seconds in words: 42 s, 5 min 12 s, 3 h 07 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(share: float | None, digits: int = 1) -> str:
    """A share between 0 and 1 as a percentage; a dash where there is none."""
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def points(gain: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * gain:+.1f}".replace("-", "\N{MINUS SIGN}")


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the numbers that are there."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
