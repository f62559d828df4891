"""SIGUSR1, as a scheduler sends it before the wall time: the step in progress is finished and saved."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.e2e.command import Undisturbed, final_weights, run, start, tiny

pytestmark = [pytest.mark.e2e, pytest.mark.gloo]


def test_a_run_that_is_asked_to_stop_saves_what_it_has_and_goes_on_to_the_same_bytes(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    # Without the request nothing would be saved in the middle of a phase.
    rare = "learner.checkpoint.every=100"
    process = start(tmp_path, *tiny("asked", rare, processes=2))
    metrics = tmp_path / "runs" / "asked" / "iterations" / "1" / "solver" / "metrics.jsonl"
    while not metrics.is_file() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 75
    assert [line for line in err.splitlines() if line] == [
        "rzero-mega: stopped and saved, as asked; the same command goes on from here"
    ]
    done = len(metrics.read_text().splitlines())
    assert 1 <= done < 3
    assert (metrics.parent / "work" / f"step_{done:05d}").is_dir()

    resumed = run(tmp_path, *tiny("asked", rare, processes=2))
    assert resumed.returncode == 0, resumed.stderr
    assert len(metrics.read_text().splitlines()) == 3
    assert final_weights(tmp_path, "asked") == undisturbed.weights()
