"""When a run did what."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from rzero_mega.run.timeline import PHASES, Devices, Drawn, Span, Timeline, phase_spans, read_timeline


def test_spans_stand_in_the_order_in_which_they_end(tmp_path: Path) -> None:
    path, before = tmp_path / "timeline.jsonl", time.time()
    timeline = Timeline(path)
    with timeline.measure("outer", track="steps"), timeline.measure("inner"):
        time.sleep(0.01)
    inner, outer = read_timeline(path)
    assert (inner.track, inner.name, outer.track, outer.name) == ("main", "inner", "steps", "outer")
    assert 0.01 <= inner.seconds <= outer.seconds
    # Clocks of the day are coarse, and may be set; a tenth of a second is more than either.
    assert before - 0.1 <= outer.began <= inner.began + 0.1


def test_a_span_that_raised_stands_there_too(tmp_path: Path) -> None:
    path = tmp_path / "timeline.jsonl"
    with pytest.raises(KeyError), Timeline(path).measure("train"):
        raise KeyError
    assert [span.name for span in read_timeline(path)] == ["train"]


def test_threads_have_tracks_of_their_own_and_lose_no_span(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "timeline.jsonl")

    def work() -> None:
        for number in range(50):
            with timeline.measure(f"draw {number}"):
                pass

    threads = [threading.Thread(target=work, name=f"rollouts_{number}") for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = read_timeline(tmp_path / "timeline.jsonl")
    assert {(span.track, span.name) for span in spans} == {
        (thread.name, f"draw {number}") for thread in threads for number in range(50)
    }
    assert len(spans) == 200


def test_a_process_without_a_file_writes_nothing(tmp_path: Path) -> None:
    with Timeline(None).measure("train"):
        pass
    assert read_timeline(tmp_path / "timeline.jsonl") == []


@pytest.mark.parametrize(
    "row",
    [
        {"track": "main", "name": "train", "began": 1.0},
        {"track": "main", "name": "train", "began": 1.0, "seconds": "2"},
        {"track": "main", "name": 3, "began": 1.0, "seconds": 2.0},
        {"track": "main", "name": "train", "began": -1.0, "seconds": 2.0},
        {"track": "main", "name": "train", "began": 1.0, "seconds": 1e300},
        {"track": "main", "name": "train", "began": 1.0, "seconds": 2.0, "counts": [3]},
        {"track": "main", "name": "train", "began": 1.0, "seconds": 2.0, "counts": {"draws": "many"}},
        {"track": "main", "name": "train", "began": 1.0, "seconds": 2.0, "counts": {"draws": 1e300}},
        ["main", "train", 1.0, 2.0],
        "main",
    ],
)
def test_a_row_that_is_no_span_is_left_out(tmp_path: Path, row: object) -> None:
    path, sound = tmp_path / "timeline.jsonl", Span("main", "train", 1.0, 2.0)
    path.write_text(f'{json.dumps(row)}\n{json.dumps(sound.as_json())}\n{{"track": "ma')
    assert read_timeline(path) == [sound]


def test_a_span_has_the_counts_that_were_filled_in(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "timeline.jsonl")
    with timeline.measure("send weights") as counts:
        counts["sent_megabytes"] = 16.5
    with timeline.measure("park", least=60.0):
        pass
    (span,) = read_timeline(tmp_path / "timeline.jsonl")
    assert (span.name, span.counts) == ("send weights", {"sent_megabytes": 16.5})


DRAWN = Drawn(draws=3, tokens=100, slots=8, slot_seconds=12.5, node=0, first_gpu=2, gpus=2)


def test_counts_that_belong_together_are_read_together() -> None:
    whole = Span("solver-0", "drawing", 1.0, 2.0, DRAWN.as_counts())
    assert Drawn.of(Span.from_json(json.loads(json.dumps(whole.as_json())))) == DRAWN
    assert Devices.of(whole) is None
    assert Drawn.of(Span("solver-0", "drawing", 1.0, 2.0, {**DRAWN.as_counts(), "tokens": -1.0})) is None


def test_a_phase_that_a_kill_ended_goes_as_far_as_what_came_last_in_it(tmp_path: Path) -> None:
    eight = Devices(8, 8, 8).as_counts()
    killed, again = Span(PHASES, "solver 1", 10.0, 0.0, eight), Span(PHASES, "solver 1", 50.0, 0.0, eight)
    trained = [Span("main", "train", began, 4.0) for began in (12.0, 20.0, 52.0)]
    finished = Span(PHASES, "solver 1", 50.0, 9.0, eight)
    under_way = Span(PHASES, "evaluate 1", 60.0, 0.0, eight)
    found = phase_spans([killed, *trained[:2], again, trained[2], finished, under_way])
    assert [(span.name, span.began, span.seconds) for span in found] == [
        ("solver 1", 10.0, 14.0),
        ("solver 1", 50.0, 9.0),
        ("evaluate 1", 60.0, 0.0),
    ]
    path = tmp_path / "timeline.jsonl"
    with pytest.raises(KeyError), Timeline(path).phase("solver 2", Devices(8, 8, 8)):
        assert [span.seconds for span in read_timeline(path)] == [0.0]
        raise KeyError
    (attempt,) = phase_spans(read_timeline(path))
    assert attempt.seconds > 0 and attempt.counts == eight
