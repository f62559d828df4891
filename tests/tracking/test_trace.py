"""A run's timeline as a trace."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.run.timeline import PHASES, STEPS, Span
from rzero_mega.tracking.trace import chrome_trace

TRACKS = ["main", PHASES, "rollouts_0", STEPS]
NUMBERS = st.floats(0, 1e9, allow_nan=False)


def test_events_begin_when_the_first_span_does_and_phases_stand_on_top() -> None:
    spans = [
        Span("main", "generate", 101.0, 2.5),
        Span("rollouts_0", "generate", 104.0, 0.25),
        Span(STEPS, "step 1", 100.5, 5.0),
        Span(PHASES, "solver 1", 100.0, 6.0),
    ]
    trace = chrome_trace(spans, "nano-seed0")["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in trace if event["name"] == "thread_name"}
    assert [names[tid] for tid in sorted(names)] == [PHASES, STEPS, "main", "rollouts_0"]
    assert {event["tid"]: event["args"]["sort_index"] for event in trace if event["name"] == "thread_sort_index"} == {
        tid: tid for tid in names
    }
    events = {
        (names[event["tid"]], event["name"]): (event["ts"], event["dur"]) for event in trace if event["ph"] == "X"
    }
    assert events == {
        ("main", "generate"): (1e6, 2.5e6),
        ("rollouts_0", "generate"): (4e6, 0.25e6),
        (STEPS, "step 1"): (0.5e6, 5e6),
        (PHASES, "solver 1"): (0.0, 6e6),
    }


@given(st.lists(st.builds(Span, st.sampled_from(TRACKS), st.text(max_size=5), NUMBERS, NUMBERS), max_size=20))
def test_every_span_is_one_event_of_its_track_and_never_before_the_start(spans: list[Span]) -> None:
    trace = json.loads(json.dumps(chrome_trace(spans, "run")))["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in trace if event["name"] == "thread_name"}
    events = [event for event in trace if event["ph"] == "X"]
    assert [(names[event["tid"]], event["name"]) for event in events] == [(span.track, span.name) for span in spans]
    assert all(event["ts"] >= 0 and event["dur"] >= 0 for event in events)
    assert not spans or min(event["ts"] for event in events) == 0
