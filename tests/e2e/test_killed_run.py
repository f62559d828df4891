"""SIGKILL at any moment loses nothing: the same command goes on and ends with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.command import Undisturbed, final_weights, start, tiny

KILLS = 5

pytestmark = [pytest.mark.e2e, pytest.mark.gloo]


def test_a_run_killed_at_random_moments_ends_with_the_bytes_of_an_undisturbed_run(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    seconds = undisturbed.seconds
    moments = random.Random(2508_05004)
    kills = finished = 0
    while kills < KILLS or finished == 0:
        # When an attempt finishes before its kill, the next one starts a new run: every kill hits a living job.
        process = start(tmp_path, *tiny(f"killed-{finished}", processes=2))
        began = time.monotonic()
        try:
            process.communicate(timeout=moments.uniform(0.2, 1.0) * seconds if kills < KILLS else 600)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0
        assert final_weights(tmp_path, f"killed-{finished}") == undisturbed.weights()
        finished += 1
        # The machine may have become faster: kills have to come within the time that a run takes now.
        seconds = min(seconds, time.monotonic() - began)
    assert kills == KILLS
