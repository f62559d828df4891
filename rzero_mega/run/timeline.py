"""When a run did what: spans of wall-clock time, a line each, appended as they end. Only traces are made of them.

A kill loses the spans that it ended; work that is done again stands there twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from rzero_mega.atomic import append_line
from rzero_mega.records import bounded, field, read_records

FILE = "timeline.jsonl"
# A span that began before 1970 or after the year 9999, or took longer than that, is none.
_LATEST_S = datetime.max.timestamp()


@dataclass(frozen=True)
class Span:
    """What a track was busy with: `began` in seconds since the epoch, for so many `seconds`.

    Tracks are what does one thing at a time, such as a thread. Spans of a track that overlap lie in each other.
    """

    track: str
    name: str
    began: float
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The line of the file."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """The span of a line; KeyError, TypeError or ValueError if it is malformed."""
        began, seconds = (bounded(field(row, name, float), name, 0.0, _LATEST_S) for name in ("began", "seconds"))
        return cls(field(row, "track", str), field(row, "name", str), began, seconds)


class Timeline:
    """Writes the spans of one process. Threads may measure at the same time."""

    def __init__(self, path: Path | None) -> None:
        """Spans go to the end of the file; nowhere where there is none."""
        self._path, self._lock = path, threading.Lock()

    @contextmanager
    def measure(self, name: str, track: str | None = None) -> Iterator[None]:
        """A span of the time spent inside the block; its track is the thread's name if none is given."""
        began, clock = time.time(), time.perf_counter()
        try:
            yield
        finally:
            self._add(Span(track or _thread(), name, began, time.perf_counter() - clock))

    def _add(self, span: Span) -> None:
        if self._path is not None:
            with self._lock:
                append_line(self._path, span.as_json())


def read_timeline(path: Path) -> list[Span]:
    """The spans of a file, in the order in which they ended; none where there is no file. Torn lines are left out."""
    return read_records(path, Span, skip_malformed=True) if path.is_file() else []


def _thread() -> str:
    return "main" if threading.current_thread() is threading.main_thread() else threading.current_thread().name
