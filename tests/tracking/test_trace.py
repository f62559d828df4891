"""A run's timeline as a trace."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.run.timeline import PHASES, STEPS, Span
from rzero_mega.tracking.trace import SLOTS, TOKENS, chrome_trace
from tests.tracking.timelines import BEGAN, drawing

TRACKS = ["main", "rollouts_0", STEPS]
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


def test_a_phase_is_one_event_from_its_beginning_on() -> None:
    spans = [
        Span(PHASES, "solver 1", 100.0, 0.0),
        Span("main", "train", 101.0, 2.0),
        Span(PHASES, "solver 1", 100.0, 6.0),
    ]
    for known, seconds in ((spans, 6.0), (spans[:2], 3.0)):
        events = chrome_trace(known, "run")["traceEvents"]
        assert [event["dur"] for event in events if event["name"] == "solver 1"] == [seconds * 1e6]


def test_a_server_has_a_track_and_counters_that_are_0_while_it_has_nothing_to_do() -> None:
    spans = [
        Span("main", "train", BEGAN, 1.0),
        drawing("solver-0", 0, 1.0, 10.0, slots=64, tokens=5000),
        drawing("solver-0", 0, 11.0, 10.0, slots=32, tokens=2500),
        drawing("solver-0", 0, 31.0, 10.0, slots=16, tokens=1000),
        drawing("challenger-0", 0, 1.0, 5.0, slots=8),
    ]
    trace = json.loads(json.dumps(chrome_trace(spans, "run")))["traceEvents"]
    processes = {event["args"]["name"]: event["pid"] for event in trace if event["name"] == "process_name"}
    assert list(processes) == ["run", "challenger-0", "solver-0"] and len(set(processes.values())) == 3
    of_server = [event for event in trace if event["pid"] == processes["solver-0"]]
    assert [event["dur"] for event in of_server if event["ph"] == "X"] == [10e6] * 3
    for counter, values in ((SLOTS, [64, 32, 0, 16, 0]), (TOKENS, [500, 250, 0, 100, 0])):
        found = [(event["ts"], event["args"]["value"]) for event in of_server if event["name"] == counter]
        assert found == list(zip([1e6, 11e6, 21e6, 31e6, 41e6], values, strict=True))
