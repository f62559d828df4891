"""A run's timeline as a trace that Perfetto and Chrome open: a track per thread, phases and steps above, and servers.

A server is what the format calls a process, with a track of the times in which it had draws, and two counters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rzero_mega.run.timeline import DRAWING, PHASES, STEPS, Drawn, Span, phase_spans

SLOTS, TOKENS = "slots in use", "tokens/s"
"""Counters of a server: means over the time between two values. Tokens count when their sample is over."""

_MICROSECONDS = 1e6
# Between two spans of a server that follow each other their clocks may leave so much.
_GAP = 10_000
_RUN = 1
_ON_TOP = (PHASES, STEPS)


@dataclass
class _Slice:
    """A span in whole microseconds after the trace's beginning: sums of these are exact, those of fractions are not."""

    span: Span
    began: int
    end: int


def chrome_trace(spans: Sequence[Span], title: str) -> dict[str, Any]:
    """The spans in the Trace Event Format: complete events in microseconds after the first one began, track by track.

    https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
    """
    spans = [*phase_spans(spans), *(span for span in spans if span.track != PHASES)]
    start = min((span.began for span in spans), default=0.0)
    servers = {name: number for number, name in enumerate(_servers(spans), start=_RUN + 1)}
    threads = _threads([span for span in spans if span.track not in servers])
    tracks = _tracks(spans, start)
    return {
        "displayTimeUnit": "ms",
        "traceEvents": [
            *_process(_RUN, title),
            *(event for number, name in enumerate(threads, 1) for event in _thread(_RUN, number, name)),
            *(_complete(one, _RUN, number) for number, name in enumerate(threads, 1) for one in tracks[name]),
            *(event for name, number in servers.items() for event in _server(tracks[name], name, number)),
        ],
    }


def _servers(spans: Sequence[Span]) -> list[str]:
    return sorted({span.track for span in spans if span.name == DRAWING and Drawn.of(span) is not None})


def _threads(spans: Sequence[Span]) -> list[str]:
    seen = dict.fromkeys(span.track for span in sorted(spans, key=lambda span: span.began))
    return sorted(seen, key=lambda track: _ON_TOP.index(track) if track in _ON_TOP else len(_ON_TOP))


def _tracks(spans: Sequence[Span], start: float) -> dict[str, list[_Slice]]:
    """The spans of every track as `nested` ones."""
    tracks: dict[str, list[_Slice]] = defaultdict(list)
    for span in spans:
        began, end = (round((time - start) * _MICROSECONDS) for time in (span.began, span.end))
        tracks[span.track].append(_Slice(span, began, end))
    return {name: _nested(slices) for name, slices in tracks.items()}


def _nested(slices: Sequence[_Slice]) -> list[_Slice]:
    """Slices of a track of which any two lie in each other or apart, in order, outer ones first.

    Perfetto drops a slice that begins inside another one and ends after it. Such spans are none that overlap: a span's
    beginning and its length are by two clocks, and where it follows another one they may be microseconds off. Of two
    slices the one is cut that loses less.
    """
    around: list[_Slice] = []
    for one in sorted(slices, key=_outer_first):
        while around and around[-1].end <= one.began:
            around.pop()
        while around and one.end > around[-1].end:
            outer = around[-1]
            if outer.end - one.began < one.end - outer.end:
                outer.end = one.began
                around.pop()
            else:
                one.end = outer.end
        around.append(one)
    return sorted(slices, key=_outer_first)


def _outer_first(one: _Slice) -> tuple[int, int]:
    return one.began, -one.end


def _server(slices: Sequence[_Slice], name: str, process: int) -> Iterator[dict[str, Any]]:
    """The server's process: its spans, and counters that are 0 in between."""
    yield from _process(process, name)
    yield from _thread(process, 1, DRAWING)
    until = None
    for one in slices:
        drawn, seconds = Drawn.of(one.span), one.span.seconds
        if until is not None and one.began > until + _GAP:
            yield from _counters(process, until, 0.0, 0.0)
        until = one.end
        yield _complete(one, process, 1)
        if drawn is not None and seconds * _MICROSECONDS >= 1:
            yield from _counters(process, one.began, drawn.slot_seconds / seconds, drawn.tokens / seconds)
    if until is not None:
        yield from _counters(process, until, 0.0, 0.0)


def _counters(process: int, at: int, slots: float, tokens: float) -> Iterator[dict[str, Any]]:
    for name, value in ((SLOTS, slots), (TOKENS, tokens)):
        yield {"ph": "C", "name": name, "pid": process, "tid": 0, "ts": at, "args": {"value": round(value, 1)}}


def _process(number: int, name: str) -> Iterator[dict[str, Any]]:
    yield _metadata("process_name", number, 0, name=name)
    yield _metadata("process_sort_index", number, 0, sort_index=number)


def _thread(process: int, number: int, name: str) -> Iterator[dict[str, Any]]:
    yield _metadata("thread_name", process, number, name=name)
    yield _metadata("thread_sort_index", process, number, sort_index=number)


def _metadata(kind: str, process: int, thread: int, **values: str | int) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": values}


def _complete(one: _Slice, process: int, thread: int) -> dict[str, Any]:
    event = {
        "ph": "X",
        "name": one.span.name,
        "pid": process,
        "tid": thread,
        "ts": one.began,
        "dur": one.end - one.began,
    }
    return {**event, "args": dict(one.span.counts)} if one.span.counts else event
