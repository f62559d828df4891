"""What Perfetto and Chrome ask of a trace in JSON, beyond which they drop events or show something else.

The Trace Event Format, and Perfetto's reading of it: on a track a complete event lies in another one or apart from it,
https://perfetto.dev/docs/faq#why-are-overlapping-events-in-json-traces-not-displayed-correctly-
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Event = Mapping[str, Any]
KEYS = {
    "M": {"ph", "name", "pid", "tid", "args"},
    "X": {"ph", "name", "pid", "tid", "ts", "dur"},
    "C": {"ph", "name", "pid", "tid", "ts", "args"},
}
METADATA = {
    "process_name": ("name", str),
    "process_sort_index": ("sort_index", int),
    "thread_name": ("name", str),
    "thread_sort_index": ("sort_index", int),
}


def check_trace(trace: Mapping[str, Any]) -> list[Event]:
    """Its events, all of which are in order."""
    whole = json.loads(json.dumps(trace, allow_nan=False))
    assert whole.keys() == {"displayTimeUnit", "traceEvents"} and whole["displayTimeUnit"] in ("ms", "ns")
    events: list[Event] = whole["traceEvents"]
    for event in events:
        _check_fields(event)
    _check_names(events)
    tracks, counters = defaultdict(list), defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
        elif event["ph"] == "C":
            counters[event["pid"], event["name"]].append(event["ts"])
    for track, slices in tracks.items():
        _check_nested(track, slices)
    for name, times in counters.items():
        assert times == sorted(times), name
    return events


def _check_fields(event: Event) -> None:
    """Each event has what its kind takes. Times are whole: a sum of others may end past what it lies in."""
    kind = event["ph"]
    assert event.keys() - {"args"} == KEYS[kind] - {"args"} and KEYS[kind] <= event.keys(), event
    assert type(event["name"]) is str
    for key in ("pid", "tid", "ts", "dur"):
        assert key not in event or (type(event[key]) is int and event[key] >= 0), event
    if kind == "M":
        key, of = METADATA[event["name"]]
        assert event["args"].keys() == {key} and type(event["args"][key]) is of, event
    else:
        assert all(type(value) in (int, float) for value in event.get("args", {}).values()), event


def _check_names(events: Sequence[Event]) -> None:
    """Every process and every track has one name, and one place."""
    told = Counter((event["name"], event["pid"], event["tid"]) for event in events if event["ph"] == "M")
    assert not told or set(told.values()) == {1}
    named = {(pid, tid) for kind, pid, tid in told if kind == "thread_name"}
    processes = {pid for kind, pid, _ in told if kind == "process_name"}
    assert {(event["pid"], event["tid"]) for event in events if event["ph"] == "X"} <= named
    assert {event["pid"] for event in events} == processes
    titles = Counter(event["args"]["name"] for event in events if event["name"] == "thread_name" and event["pid"] == 1)
    assert not titles or set(titles.values()) == {1}


def _check_nested(track: tuple[int, int], slices: Sequence[tuple[int, int]]) -> None:
    """In order, of those that begin at the same time the outer one first, and none out of the one that it began in."""
    assert all((first[0], -first[1]) <= (second[0], -second[1]) for first, second in pairwise(slices)), track
    around: list[int] = []
    for began, end in slices:
        while around and around[-1] <= began:
            around.pop()
        assert not around or end <= around[-1], (track, began, end)
        around.append(end)
