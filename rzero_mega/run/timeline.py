"""When a run did what: spans of wall-clock time, a line each, appended as they end.

Traces are made of them, and what is told of where GPU-hours went; nothing that a run does depends on them. A kill loses
the spans that it ended; work that is done again stands there twice.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from rzero_mega.atomic import append_lines
from rzero_mega.records import bounded, read_records, typed
from rzero_mega.records import field as field_of

FILE = "timeline.jsonl"
PHASES = "phases"
"""The track of phases. Each of them stands there when it begins, without its seconds, and again when it ends."""
STEPS = "steps"
"""The track of steps."""
DRAWING = "drawing"
"""The name of spans in which a server had draws under way; their track is the server."""

# A span that began before 1970 or after the year 9999, or took longer than that, is none.
_LATEST_S = datetime.max.timestamp()
_MOST = 1e18
_C = TypeVar("_C", bound="_Counts")


@dataclass(frozen=True)
class Span:
    """What a track was busy with: `began` in seconds since the epoch, for so many `seconds`; `counts` by name.

    Tracks are what does one thing at a time, such as a thread. Spans of a track that overlap lie in each other.
    """

    track: str
    name: str
    began: float
    seconds: float
    counts: Mapping[str, float] = field(default_factory=dict)

    @property
    def end(self) -> float:
        """In seconds since the epoch."""
        return self.began + self.seconds

    def as_json(self) -> dict[str, Any]:
        """The line of the file."""
        row = asdict(self)
        return row if self.counts else {key: value for key, value in row.items() if key != "counts"}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """The span of a line; KeyError, TypeError or ValueError if it is malformed."""
        began, seconds = (bounded(field_of(row, name, float), name, 0.0, _LATEST_S) for name in ("began", "seconds"))
        counts = typed(row.get("counts", {}), dict, "counts")
        numbers = {name: bounded(float(value), name, -_MOST, _MOST) for name, value in counts.items()}
        return cls(field_of(row, "track", str), field_of(row, "name", str), began, seconds, numbers)


@dataclass(frozen=True)
class _Counts:
    """Counts that a span has together."""

    def as_counts(self) -> dict[str, float]:
        """For the span."""
        return {name: float(value) for name, value in asdict(self).items()}

    @classmethod
    def of(cls: type[_C], span: Span) -> _C | None:
        """Those of the span; None where it lacks one, or has one that is negative."""
        found = [span.counts.get(spec.name, -1.0) for spec in fields(cls)]
        return cls(*found) if all(value >= 0 for value in found) else None


@dataclass(frozen=True)
class Devices(_Counts):
    """What a phase has: GPUs in all and on a node; the first `learner` are the learner's. On CPUs all are 0."""

    gpus: float
    gpus_per_node: float
    learner: float


@dataclass(frozen=True)
class Drawn(_Counts):
    """What a server did in a span: draws that were over and their tokens; of its `slots` were taken, times seconds.

    It runs on `gpus` GPUs of a node, from `first_gpu` on.
    """

    draws: float
    tokens: float
    slots: float
    slot_seconds: float
    node: float
    first_gpu: float
    gpus: float


class Timeline:
    """Writes the spans of one process. Threads may measure at the same time."""

    def __init__(self, path: Path | None) -> None:
        """Spans go to the end of the file; nowhere where there is none."""
        self._path, self._lock = path, threading.Lock()

    @contextmanager
    def measure(self, name: str, track: str | None = None, least: float = 0.0) -> Iterator[dict[str, float]]:
        """A span of the time spent inside the block, if that is not less than `least` seconds; its counts are filled
        in there. Its track is the thread's name if none is given.
        """
        began, clock = time.time(), time.perf_counter()
        counts: dict[str, float] = {}
        try:
            yield counts
        finally:
            seconds = time.perf_counter() - clock
            if seconds >= least:
                self.add([Span(track or _thread(), name, began, seconds, counts)])

    @contextmanager
    def phase(self, name: str, devices: Devices) -> Iterator[None]:
        """A phase: it stands there as soon as it begins, so that what a kill leaves of it is known."""
        began, clock = time.time(), time.perf_counter()
        self.add([Span(PHASES, name, began, 0.0, devices.as_counts())])
        try:
            yield
        finally:
            self.add([Span(PHASES, name, began, time.perf_counter() - clock, devices.as_counts())])

    def add(self, spans: Iterable[Span]) -> None:
        """Spans that are over, in one write."""
        rows = [span.as_json() for span in spans]
        if self._path is not None and rows:
            with self._lock:
                append_lines(self._path, rows)


def read_timeline(path: Path) -> list[Span]:
    """The spans of a file, in the order in which they ended; none where there is no file. Torn lines are left out."""
    return read_records(path, Span, skip_malformed=True) if path.is_file() else []


def phase_spans(spans: Sequence[Span]) -> list[Span]:
    """Each attempt at a phase as one span, in their order.

    One that is under way, or that a kill has ended, goes as far as what came last before the next one began.
    """
    attempts: dict[tuple[str, float], Span] = {}
    for span in spans:
        if span.track == PHASES:
            before = attempts.get((span.name, span.began), span)
            attempts[span.name, span.began] = max(before, span, key=lambda span: span.seconds)
    found = sorted(attempts.values(), key=lambda span: span.began)
    ends = [*(span.began for span in found[1:]), math.inf]
    return [span if span.seconds else _until_last(span, end, spans) for span, end in zip(found, ends, strict=False)]


def _until_last(phase: Span, end: float, spans: Sequence[Span]) -> Span:
    inside = (span.end for span in spans if phase.began <= span.began < end and span.track != PHASES)
    return replace(phase, seconds=min(max(inside, default=phase.began), end) - phase.began)


def _thread() -> str:
    return "main" if threading.current_thread() is threading.main_thread() else threading.current_thread().name
