"""When a run did what."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from rzero_mega.run.timeline import Span, Timeline, read_timeline


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
        ["main", "train", 1.0, 2.0],
        "main",
    ],
)
def test_a_row_that_is_no_span_is_left_out(tmp_path: Path, row: object) -> None:
    path, sound = tmp_path / "timeline.jsonl", Span("main", "train", 1.0, 2.0)
    path.write_text(f'{json.dumps(row)}\n{json.dumps(sound.as_json())}\n{{"track": "ma')
    assert read_timeline(path) == [sound]
