"""SIGKILL at any moment leaves a state from which the same calls go on to the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.run.killable import content, warm_child, work

PARTS, STEPS = 12, 12


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Memory where there is some: hundreds of flushes to a busy disk would only wait."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture
def undisturbed(folder: Path) -> dict[str, object]:
    path = folder / "undisturbed"
    work(path, PARTS, STEPS)
    return content(path)


def _attempt(path: Path, kill_after: float) -> int:
    with warm_child(path, PARTS, STEPS) as child:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1]


def test_random_kills_end_with_the_bytes_of_an_undisturbed_run(folder: Path, undisturbed: dict[str, object]) -> None:
    started = time.monotonic()
    work(folder / "timed", PARTS, STEPS)
    duration = time.monotonic() - started
    randomness = random.Random(7)
    kills = 0
    for run in range(100):
        path = folder / str(run)
        patience, status = duration, -1
        while status != 0:
            status = _attempt(path, randomness.uniform(0.0, patience))
            assert os.WIFSIGNALED(status) or status == 0, "the child failed; its traceback is above"
            kills += os.WIFSIGNALED(status)
            # On a busy machine an attempt may take longer than the one that was timed.
            patience *= 1.2
        assert content(path) == undisturbed
        if kills >= 10:
            return
    pytest.fail(f"only {kills} kills in 100 runs")


def test_a_kill_at_every_change_to_the_folder_is_survived(folder: Path) -> None:
    work(folder / "undisturbed", parts=1, steps=2)
    expected = content(folder / "undisturbed")
    boundary, killed = 0, True
    while killed:
        boundary += 1
        path = folder / str(boundary)
        with warm_child(path, 1, 2, boundary) as child:
            killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        work(path, parts=1, steps=2)
        assert content(path) == expected, f"killed before change {boundary}"
        assert not list(path.rglob("*.tmp")) and not list(path.rglob("*.old")) and not list(path.rglob("work"))
    assert boundary > 40


def test_the_lock_falls_with_its_holder_even_when_the_holder_left_a_forked_child(tmp_path: Path) -> None:
    script = f"""
import os, sys, time
from pathlib import Path
from rzero_mega.config import load_config
from rzero_mega.run import RunDirectory
run = RunDirectory.create_or_open(Path({str(tmp_path / "run")!r}), load_config(), writer=True)
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print("ready", flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.kill()
        process.wait()
        work(tmp_path / "run", parts=1, steps=2)
