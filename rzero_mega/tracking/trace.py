"""A run's timeline as a trace that Perfetto and Chrome open: a track per thread and server, phases and steps above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rzero_mega.run.timeline import Span

PHASES, STEPS = "phases", "steps"
"""Tracks of what the loop goes through; they stand on top."""

_MICROSECONDS = 1e6
_PROCESS = 1


def chrome_trace(spans: Sequence[Span], title: str) -> dict[str, Any]:
    """The spans in the Trace Event Format: complete events in microseconds after the first one began.

    https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
    """
    start = min((span.began for span in spans), default=0.0)
    tracks = {track: number for number, track in enumerate(_tracks(spans), start=1)}
    return {
        "displayTimeUnit": "ms",
        "traceEvents": [
            _metadata("process_name", 0, name=title),
            *(_metadata("thread_name", number, name=track) for track, number in tracks.items()),
            *(_metadata("thread_sort_index", number, sort_index=number) for number in tracks.values()),
            *(_event(span, tracks[span.track], start) for span in spans),
        ],
    }


def _tracks(spans: Sequence[Span]) -> list[str]:
    seen = dict.fromkeys(span.track for span in sorted(spans, key=lambda span: span.began))
    return sorted(seen, key=lambda track: [PHASES, STEPS].index(track) if track in (PHASES, STEPS) else len(seen) + 2)


def _metadata(kind: str, thread: int, **values: str | int) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": _PROCESS, "tid": thread, "args": values}


def _event(span: Span, thread: int, start: float) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": span.name,
        "pid": _PROCESS,
        "tid": thread,
        "ts": round((span.began - start) * _MICROSECONDS, 1),
        "dur": round(span.seconds * _MICROSECONDS, 1),
    }
