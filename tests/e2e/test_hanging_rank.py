"""A rank that is killed or stopped ends the run with one line that names it, and the same command goes on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.command import Undisturbed, final_weights, run, start, tiny

pytestmark = [pytest.mark.e2e, pytest.mark.gloo]

RUN = tiny("named", "learner.hang_timeout_s=5", processes=2)
FAULTS = [
    (signal.SIGSTOP, "challenger", 124, "was stopped by a signal and did not go on for 5 s (learner.hang_timeout_s)"),
    (signal.SIGKILL, "solver", 137, "was killed by SIGKILL"),
]


def test_a_rank_is_named_in_one_line_and_the_same_command_ends_with_the_same_bytes(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    for sent, phase, code, line in FAULTS:
        process = start(tmp_path, *RUN)
        steps = tmp_path / "runs" / "named" / "iterations" / "1" / phase / "metrics.jsonl"
        while not steps.is_file() and process.poll() is None:
            time.sleep(0.05)
        ranks = [child for child in psutil.Process(process.pid).children() if child.environ().get("RANK") == "1"]
        ranks[0].send_signal(sent)
        _, err = process.communicate(timeout=600)
        assert (process.returncode, err) == (code, f"rzero-mega: rank 1 {line}; the same command goes on from here\n")
        assert not ranks[0].is_running()
    again = run(tmp_path, *RUN)
    assert again.returncode == 0, again.stderr
    assert final_weights(tmp_path, "named") == undisturbed.weights()
