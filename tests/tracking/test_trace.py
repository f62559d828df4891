"""A run's timeline as a trace."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.run.timeline import PHASES, STEPS, Span, Timeline, read_timeline
from rzero_mega.tracking.trace import SLOTS, TOKENS, chrome_trace
from tests.tracking.timelines import BEGAN, SPLIT, drawing, training_phase
from tests.tracking.trace_format import Event, check_trace

TRACKS = ["main", "rollouts_0", STEPS]
NUMBERS = st.floats(0, 1e9, allow_nan=False)
# Times of which many are the same, or microseconds apart.
CLOSE = st.integers(0, 40).map(lambda number: BEGAN + number * 0.7e-6)


def slices(events: list[Event], name: str) -> list[tuple[int, int]]:
    """(beginning, length) of the events of that name, in microseconds."""
    return [(event["ts"], event["dur"]) for event in events if event["ph"] == "X" and event["name"] == name]


def test_events_begin_when_the_first_span_does_and_phases_stand_on_top() -> None:
    spans = [
        Span("main", "generate", 101.0, 2.5),
        Span("rollouts_0", "generate", 104.0, 0.25),
        Span(STEPS, "step 1", 100.5, 5.0),
        Span(PHASES, "solver 1", 100.0, 6.0),
    ]
    trace = check_trace(chrome_trace(spans, "nano-seed0"))
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
    trace = check_trace(chrome_trace(spans, "run"))
    names = {event["tid"]: event["args"]["name"] for event in trace if event["name"] == "thread_name"}
    events = [event for event in trace if event["ph"] == "X"]
    assert Counter((names[event["tid"]], event["name"]) for event in events) == Counter(
        (span.track, span.name) for span in spans
    )
    assert not spans or min(event["ts"] for event in events) == 0


@given(
    st.lists(
        st.builds(Span, st.sampled_from(TRACKS), st.just("work"), CLOSE, st.integers(0, 40).map(lambda n: n / 1e6))
    ),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(0, 30)), max_size=8),
)
def test_no_viewer_drops_anything_however_spans_lie(spans: list[Span], drawn: list[tuple[int, int, int]]) -> None:
    servers = [drawing(f"solver-{number}", 0, 1e-6 * at, 1e-6 * long, slots=8) for number, at, long in drawn]
    check_trace(chrome_trace([*spans, *servers], "run"))
    check_trace(chrome_trace([*spans, *servers, *training_phase("solver 1", 0.0, SPLIT, range(2, 4))], "run"))


def test_a_server_that_goes_on_keeps_its_slices_where_clocks_leave_them_microseconds_into_each_other() -> None:
    # Each was told of by itself, and when it began is reckoned from the time of day at which that was.
    spans = [drawing("solver-0", 0, began, 10.0, slots=64) for began in (0.0, 9.9998, 20.0001)]
    trace = check_trace(chrome_trace(spans, "run"))
    assert slices(trace, "drawing") == [(0, 9_999_800), (9_999_800, 10_000_000), (20_000_100, 10_000_000)]
    assert [event["args"]["value"] for event in trace if event["name"] == SLOTS] == [64, 64, 64, 0]


def test_what_lies_in_something_else_ends_with_it_at_the_latest() -> None:
    spans = [Span("main", "send weights", BEGAN + 1.0, 2.0003), Span("main", "update", BEGAN, 3.0)]
    trace = check_trace(chrome_trace(spans, "run"))
    assert (slices(trace, "update"), slices(trace, "send weights")) == ([(0, 3_000_000)], [(1_000_000, 2_000_000)])


def test_of_spans_that_begin_together_the_outer_one_comes_first() -> None:
    # On the timeline it stands behind what it holds, which ended sooner.
    spans = [Span("main", "park", BEGAN, 1.0), Span("main", "update", BEGAN, 3.0)]
    events = [event["name"] for event in check_trace(chrome_trace(spans, "run")) if event["ph"] == "X"]
    assert events == ["update", "park"]


def test_what_is_measured_in_something_else_is_shown_in_it(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "timeline.jsonl")
    with timeline.phase("solver 1", SPLIT):
        for step in range(20):
            with timeline.measure(f"step {step}", track=STEPS), timeline.measure("update"), timeline.measure("park"):
                pass
    events = check_trace(chrome_trace(read_timeline(tmp_path / "timeline.jsonl"), "run"))
    assert [len(slices(events, name)) for name in ("solver 1", "update", "park")] == [1, 20, 20]


def test_a_phase_is_one_event_from_its_beginning_on() -> None:
    spans = [
        Span(PHASES, "solver 1", 100.0, 0.0),
        Span("main", "train", 101.0, 2.0),
        Span(PHASES, "solver 1", 100.0, 6.0),
    ]
    for known, seconds in ((spans, 6.0), (spans[:2], 3.0)):
        events = check_trace(chrome_trace(known, "run"))
        assert [event["dur"] for event in events if event["name"] == "solver 1"] == [seconds * 1e6]


def test_a_server_has_a_track_and_counters_that_are_0_while_it_has_nothing_to_do() -> None:
    spans = [
        Span("main", "train", BEGAN, 1.0),
        drawing("solver-0", 0, 1.0, 10.0, slots=64, tokens=5000),
        drawing("solver-0", 0, 11.0, 10.0, slots=32, tokens=2500),
        drawing("solver-0", 0, 31.0, 10.0, slots=16, tokens=1000),
        drawing("challenger-0", 0, 1.0, 5.0, slots=8),
    ]
    trace = check_trace(chrome_trace(spans, "run"))
    processes = {event["args"]["name"]: event["pid"] for event in trace if event["name"] == "process_name"}
    assert list(processes) == ["run", "challenger-0", "solver-0"] and len(set(processes.values())) == 3
    of_server = [event for event in trace if event["pid"] == processes["solver-0"]]
    assert [event["dur"] for event in of_server if event["ph"] == "X"] == [10e6] * 3
    for counter, values in ((SLOTS, [64, 32, 0, 16, 0]), (TOKENS, [500, 250, 0, 100, 0])):
        found = [(event["ts"], event["args"]["value"]) for event in of_server if event["name"] == counter]
        assert found == list(zip([1e6, 11e6, 21e6, 31e6, 41e6], values, strict=True))
