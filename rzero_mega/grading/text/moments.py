"""Times of day and dates."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TIME = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))? ?(?:([ap])\.? ?m\.?|o'?clock)?", re.IGNORECASE)
_NAMED = {"noon": (12, 0), "midnight": (0, 0)}
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = r"(?P<month>[a-z]{3,9})\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_DATES = (
    re.compile(rf"{_MONTH} {_DAY}(?:,? (?P<year>\d{{4}}))?"),
    re.compile(rf"{_DAY}(?: of)? {_MONTH}(?:,? (?P<year>\d{{4}}))?"),
    re.compile(r"(?P<year>\d{4})-(?P<number>\d{2})-(?P<day>\d{2})"),
)
_MAX_CHARS = 40


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A time as written, and on the 24-hour clock; `half` is "am", "pm", or "" if that is left off."""

    written: tuple[int, int, int]
    value: tuple[int, int, int]
    half: str


def _plain(text: str) -> str:
    return " ".join(re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", text).split())


def read_time(text: str) -> TimeOfDay | None:
    """Read ``3:45 pm``, ``8 a.m.``, ``15:15``, ``6 o'clock`` or ``noon``; None if it is no time of day."""
    if len(text) > _MAX_CHARS:
        return None
    plain = _plain(text).lower().removesuffix(".")
    if plain in _NAMED:
        hour, minute = _NAMED[plain]
        return TimeOfDay((12, 0, 0), (hour, minute, 0), "am" if hour == 0 else "pm")
    match = _TIME.fullmatch(plain)
    if match is None or plain.isdigit():
        return None
    hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    if hour > 24 or minute > 59 or second > 59 or (match[4] and not 1 <= hour <= 12):
        return None
    half = f"{match[4]}m" if match[4] else ""
    on_clock = hour % 12 + (12 if half == "pm" else 0) if half else hour
    return TimeOfDay((hour, minute, second), (on_clock, minute, second), half)


def read_date(text: str) -> str | None:
    """Return a date as ``[year-]month-day``; None if `text` is none that names its month."""
    if len(text) > _MAX_CHARS:
        return None
    plain = _plain(text).lower().removesuffix(".")
    for pattern in _DATES:
        match = pattern.fullmatch(plain)
        if match is None:
            continue
        groups = match.groupdict()
        month = int(groups["number"]) if groups.get("number") else _month(groups["month"])
        if 1 <= month <= 12 and 1 <= int(groups["day"]) <= 31:
            return f"{groups['year'] or ''}-{month:02d}-{int(groups['day']):02d}"
    return None


def _month(name: str) -> int:
    """Return the number of a month given by its name or the first letters of it, 0 if it is none."""
    return next((number for number, month in enumerate(_MONTHS, start=1) if month.startswith(name)), 0)
