"""A run's timeline as a trace that Perfetto and Chrome open: a track per thread, phases and steps above, and servers.

A server is what the format calls a process, with a track of the times in which it had draws, and two counters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rzero_mega.run.timeline import DRAWING, PHASES, STEPS, Drawn, Span, phase_spans

SLOTS, TOKENS = "slots in use", "tokens/s"
"""Counters of a server: means over the time between two values. Tokens count when their sample is over."""

_MICROSECONDS = 1e6
_RUN = 1
_ON_TOP = (PHASES, STEPS)


def chrome_trace(spans: Sequence[Span], title: str) -> dict[str, Any]:
    """The spans in the Trace Event Format: complete events in microseconds after the first one began.

    https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
    """
    spans = [*phase_spans(spans), *(span for span in spans if span.track != PHASES)]
    start = min((span.began for span in spans), default=0.0)
    servers = {name: number for number, name in enumerate(_servers(spans), start=_RUN + 1)}
    of_run = [span for span in spans if span.track not in servers]
    threads = {name: number for number, name in enumerate(_threads(of_run), start=1)}
    return {
        "displayTimeUnit": "ms",
        "traceEvents": [
            *_process(_RUN, title),
            *(event for name, number in threads.items() for event in _thread(_RUN, number, name)),
            *(_complete(span, _RUN, threads[span.track], start) for span in of_run),
            *(event for name, number in servers.items() for event in _server(spans, name, number, start)),
        ],
    }


def _servers(spans: Sequence[Span]) -> list[str]:
    return sorted({span.track for span in spans if span.name == DRAWING and Drawn.of(span) is not None})


def _threads(spans: Sequence[Span]) -> list[str]:
    seen = dict.fromkeys(span.track for span in sorted(spans, key=lambda span: span.began))
    return sorted(seen, key=lambda track: _ON_TOP.index(track) if track in _ON_TOP else len(_ON_TOP))


def _server(spans: Sequence[Span], name: str, process: int, start: float) -> Iterator[dict[str, Any]]:
    """The server's process: its spans, and counters that are 0 in between."""
    yield from _process(process, name)
    yield from _thread(process, 1, DRAWING)
    until = None
    for span in sorted((span for span in spans if span.track == name), key=lambda span: span.began):
        drawn = Drawn.of(span)
        if until is not None and span.began > until:
            yield from _counters(process, until - start, 0.0, 0.0)
        until = span.end
        yield _complete(span, process, 1, start)
        if drawn is not None and span.seconds:
            values = drawn.slot_seconds / span.seconds, drawn.tokens / span.seconds
            yield from _counters(process, span.began - start, *values)
    if until is not None:
        yield from _counters(process, until - start, 0.0, 0.0)


def _counters(process: int, seconds: float, slots: float, tokens: float) -> Iterator[dict[str, Any]]:
    for name, value in ((SLOTS, slots), (TOKENS, tokens)):
        at = round(seconds * _MICROSECONDS, 1)
        yield {"ph": "C", "name": name, "pid": process, "tid": 0, "ts": at, "args": {"value": round(value, 1)}}


def _process(number: int, name: str) -> Iterator[dict[str, Any]]:
    yield _metadata("process_name", number, 0, name=name)
    yield _metadata("process_sort_index", number, 0, sort_index=number)


def _thread(process: int, number: int, name: str) -> Iterator[dict[str, Any]]:
    yield _metadata("thread_name", process, number, name=name)
    yield _metadata("thread_sort_index", process, number, sort_index=number)


def _metadata(kind: str, process: int, thread: int, **values: str | int) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": values}


def _complete(span: Span, process: int, thread: int, start: float) -> dict[str, Any]:
    event = {
        "ph": "X",
        "name": span.name,
        "pid": process,
        "tid": thread,
        "ts": round((span.began - start) * _MICROSECONDS, 1),
        "dur": round(span.seconds * _MICROSECONDS, 1),
    }
    return {**event, "args": dict(span.counts)} if span.counts else event
