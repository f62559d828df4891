"""Generated attacks: nothing runs, nothing overruns, no worker is lost, the batch comes back whole and in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.grading import extract_answer
from rzero_mega.grading.workers.processes import DECIDE, WorkerProcesses
from tests import ROOT
from tests.grading import grading_audit
from tests.processes import lives
from tools.reward_benchmarks.attacks import STOPS, attempt, run, tables
from tools.reward_benchmarks.hostile_answers import CANARY, FAMILIES, Draw, attacks

TIME_LIMIT_S, MEMORY_LIMIT_MB = 2.0, 256
EVERY_ATTACK = pytest.param(10_000, marks=[pytest.mark.e2e, pytest.mark.slow])


def in_a_process_of_its_own(folder: Path, *arguments: object) -> tuple[str, list[str]]:
    """Run a program in `folder`; returns what it prints and the forbidden events that were seen."""
    log = folder.with_suffix(".audit")
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), grading_audit.LOG: str(log)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    return done.stdout, log.read_text().splitlines()


@pytest.mark.parametrize("count", [600, EVERY_ATTACK])
def test_a_batch_of_attacks_runs_nothing_and_comes_back_whole(count: int, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    printed, events = in_a_process_of_its_own(
        folder, "-m", "tests.grading.attack_batch", count, TIME_LIMIT_S, MEMORY_LIMIT_MB
    )
    found: dict[str, Any] = json.loads(printed)
    assert events == [], "code that no file holds, another program, or a file that was written"
    assert list(folder.iterdir()) == []

    assert found["graded"] > count
    assert found["wrong"] == [], "honest pairs among the attacks"
    stats, workers = found["stats"], found["workers"]
    assert stats["graded"] == found["graded"]
    assert 0 < stats["symbolic"] <= stats["graded"] - stats["cheap"]
    assert (stats["timeouts"], stats["memory_kills"]) == (workers["timeouts"], workers["memory_kills"])
    assert workers["errors"] == workers["crashes"] == workers["failed_starts"] == 0
    ended = workers["timeouts"] + workers["memory_kills"] + workers["retired"]
    assert workers["started"] == ended + found["running"], "a worker went without being counted"

    assert found["most_mb"] - found["first_mb"] <= MEMORY_LIMIT_MB / 2
    assert not any(lives(pid) for pid in found["pids"])


def test_the_audit_sees_what_it_is_there_for(tmp_path: Path) -> None:
    program = f"""
import os, subprocess, sympy
from tests.grading import grading_audit
grading_audit.watch()
eval("1 + 1")
exec("x = 2")
sympy.sympify("x + 1")
open({CANARY!r}, "w").close()
os.system("true")
subprocess.run(["true"])
"""
    _, events = in_a_process_of_its_own(tmp_path / "work", "-c", program)
    kinds = Counter(event.split(" ")[0] for event in events)
    assert kinds["compile"] >= 3 and kinds["exec"] >= 3
    assert any("1 + 1" in event for event in events) and any("Symbol" in event for event in events)
    assert kinds["open"] == kinds["os.system"] == kinds["subprocess.Popen"] == 1


def test_no_attack_takes_twice_its_time_limit() -> None:
    workers = WorkerProcesses(DECIDE, 1, TIME_LIMIT_S, MEMORY_LIMIT_MB)
    try:
        for attack in attacks(250, seed=1):
            seconds = attempt(attack, workers).seconds
            if seconds > 2 * TIME_LIMIT_S:  # this machine may have stalled, but not twice at the same attack
                seconds = attempt(attack, workers).seconds
            assert seconds <= 2 * TIME_LIMIT_S, attack
    finally:
        workers.close()


def test_the_table_counts_every_attack_and_every_worker() -> None:
    found = run(count=100, time_limit_s=0.5)
    *families, total = found.rows
    assert [row.family for row in families] == list(FAMILIES)
    assert total.tried == sum(row.tried for row in families) == 100
    for row in found.rows:
        assert sum(row.stopped.values()) == row.tried and set(row.stopped) <= set(STOPS)
        assert 0 < row.median_s <= row.slowest_s and row.slowest_here_s <= row.slowest_s
    assert found.workers.timeouts == total.stopped.get("time limit", 0)
    assert found.unaccounted == 0
    assert len(list(tables(found))) == 4 + len(found.rows)


def test_attacks_are_drawn_from_seed_and_number() -> None:
    first = list(attacks(100))
    assert first == list(attacks(200))[:100]
    assert first != list(attacks(100, seed=1))
    assert Counter(attack.family for attack in first) == dict.fromkeys(FAMILIES, 100 // len(FAMILIES))
    assert any(CANARY in attack.a + attack.b for attack in first)


@pytest.mark.parametrize("family", FAMILIES)
def test_extraction_takes_time_in_proportion_to_the_text(family: str) -> None:
    """A search from every position would cost 64 times as much for 8 times the text."""
    piece = FAMILIES[family](Draw("extraction"))[:5_000]

    def cost(length: int) -> float:
        text = rf"\boxed{{{(piece * (length // len(piece) + 1))[:length]}}}"
        best = float("inf")
        for _ in range(2):
            start = time.process_time()
            extract_answer(text)
            best = min(best, time.process_time() - start)
        return best

    assert cost(400_000) < 32 * max(cost(50_000), 1e-4)
