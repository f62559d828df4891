"""Worker processes under faults that really happen: hangs, hoards, deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rzero_mega.grading.workers.processes import DECIDE, Outcome, WorkerProcesses
from tests import ROOT
from tests.processes import eventually, lives

MISBEHAVE = "tests.grading.grading_faults:misbehave"
GOOD = [("same", "same"), ("this", "that")]
GOOD_OUTCOMES = [Outcome.EQUAL, Outcome.DIFFERENT]


@pytest.fixture
def processes() -> Iterator[WorkerProcesses]:
    pool = WorkerProcesses(MISBEHAVE, workers=2, time_limit_s=1.0, memory_limit_mb=128)
    yield pool
    pool.close()


@pytest.mark.parametrize("fault", ["sleep", "spin", "spin in C", "ignore signals"])
def test_a_pair_that_overruns_is_killed_and_the_batch_goes_on_in_order(processes: WorkerProcesses, fault: str) -> None:
    outcomes = processes.run([*GOOD, (fault, ""), *GOOD])
    assert outcomes == [*GOOD_OUTCOMES, Outcome.TIMED_OUT, *GOOD_OUTCOMES]
    assert (processes.counts.timeouts, processes.counts.memory_kills, processes.counts.crashes) == (1, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells how long a process has computed")
def test_a_pair_has_its_time_where_others_take_most_of_the_processor() -> None:
    processes = WorkerProcesses(MISBEHAVE, workers=1, time_limit_s=0.5, memory_limit_mb=128)
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        processes.start()
        one = {min(os.sched_getaffinity(0))}
        for pid in (*processes.pids, *(other.pid for other in others)):
            os.sched_setaffinity(pid, one)
        began = time.monotonic()
        assert processes.run([("compute", "0.3"), ("compute", "30")]) == [Outcome.EQUAL, Outcome.TIMED_OUT]
        assert time.monotonic() - began > 1.0, "the others did not keep the pairs waiting"
    finally:
        processes.close()
        for other in others:
            other.kill()
            other.wait()


def test_a_killed_worker_is_replaced() -> None:
    processes = WorkerProcesses(MISBEHAVE, workers=1, time_limit_s=0.5, memory_limit_mb=128)
    try:
        assert processes.run([("sleep", ""), ("sleep", "2"), GOOD[0]]) == [Outcome.TIMED_OUT] * 2 + [Outcome.EQUAL]
        assert processes.counts.started == 3
        assert processes.counts.timeouts == 2
    finally:
        processes.close()


def test_a_pair_that_hoards_memory_is_stopped_and_counted(processes: WorkerProcesses) -> None:
    outcomes = processes.run([*GOOD, ("allocate", ""), *GOOD])
    assert outcomes == [*GOOD_OUTCOMES, Outcome.OUT_OF_MEMORY, *GOOD_OUTCOMES]
    assert (processes.counts.timeouts, processes.counts.memory_kills, processes.counts.crashes) == (0, 1, 0)
    assert processes.run(GOOD) == GOOD_OUTCOMES


@pytest.mark.parametrize("fault", ["exit", "abort"])
def test_a_pair_whose_worker_dies_twice_has_crashed(processes: WorkerProcesses, fault: str) -> None:
    outcomes = processes.run([*GOOD, (fault, ""), *GOOD])
    assert outcomes == [*GOOD_OUTCOMES, Outcome.CRASHED, *GOOD_OUTCOMES]
    assert processes.counts.crashes == 2


def test_a_kill_that_is_not_ours_counts_as_the_out_of_memory_killers(processes: WorkerProcesses) -> None:
    assert processes.run([("killed", ""), *GOOD]) == [Outcome.OUT_OF_MEMORY, *GOOD_OUTCOMES]
    assert processes.counts.memory_kills == 2


def test_a_pair_whose_worker_was_killed_once_by_somebody_else_is_tried_again(
    processes: WorkerProcesses, tmp_path: Path
) -> None:
    assert processes.run([("killed once", str(tmp_path / "mark")), *GOOD]) == [Outcome.EQUAL, *GOOD_OUTCOMES]
    assert processes.counts.memory_kills == 1


@pytest.mark.parametrize("fault", ["raise", "recurse"])
def test_an_exception_is_counted_and_costs_no_worker(processes: WorkerProcesses, fault: str) -> None:
    assert processes.run([(fault, ""), *GOOD]) == [Outcome.CRASHED, *GOOD_OUTCOMES]
    assert processes.counts.errors == 1
    assert processes.counts.started <= 2


def test_a_worker_that_grows_is_replaced_before_it_runs_into_its_limit(processes: WorkerProcesses) -> None:
    """16 MB stay behind at every pair, and 128 MB are allowed."""
    assert processes.run([("leak", "")] * 30) == [Outcome.EQUAL] * 30
    counts = processes.counts
    assert counts.memory_kills == counts.crashes == counts.errors == 0
    assert 4 <= counts.retired <= 30 / 4
    assert counts.started == counts.retired + len(processes.pids)


def test_all_attempts_at_a_pair_share_its_time_limit() -> None:
    """The first takes 60 % of the limit and dies; the second would, too, and finds 40 % left."""
    processes = WorkerProcesses(MISBEHAVE, workers=1, time_limit_s=2.0, memory_limit_mb=128)
    try:
        assert processes.run([("compute, then exit", "1.2"), *GOOD]) == [Outcome.TIMED_OUT, *GOOD_OUTCOMES]
        assert (processes.counts.crashes, processes.counts.timeouts) == (1, 1)
    finally:
        processes.close()


def test_a_limit_may_be_given_for_one_batch(processes: WorkerProcesses) -> None:
    assert processes.run([("compute, then exit", "3")], time_limit_s=0.2) == [Outcome.TIMED_OUT]
    assert processes.counts.timeouts == 1


def test_workers_started_beforehand_are_those_that_work(processes: WorkerProcesses, tmp_path: Path) -> None:
    processes.start()
    before = processes.pids
    assert len(before) == 2
    processes.run([("report", str(tmp_path / "pids"))] * 4)
    assert {int(pid) for pid in (tmp_path / "pids").read_text().split()} <= set(before) == set(processes.pids)


def test_every_worker_that_went_is_counted_once(processes: WorkerProcesses) -> None:
    processes.run([("exit", ""), ("allocate", ""), ("sleep", ""), ("raise", ""), ("killed", ""), *GOOD])
    counts = processes.counts
    ended = counts.timeouts + counts.memory_kills + counts.crashes + counts.retired + counts.failed_starts
    assert counts.started == ended + len(processes.pids)
    assert (counts.timeouts, counts.memory_kills, counts.crashes, counts.errors) == (1, 3, 2, 1)


def test_many_faults_in_one_batch_leave_every_other_pair_right(processes: WorkerProcesses) -> None:
    batch, expected = [], []
    for index in range(40):
        fault, outcome = {
            3: ("exit", Outcome.CRASHED), 5: ("allocate", Outcome.OUT_OF_MEMORY), 7: ("sleep", Outcome.TIMED_OUT)
        }.get(index % 13, ("", Outcome.EQUAL if index % 2 else Outcome.DIFFERENT))  # fmt: skip
        batch.append((fault, str(index)) if fault else (str(index), str(index if index % 2 else -index - 1)))
        expected.append(outcome)
    assert processes.run(batch) == expected


def test_workers_killed_between_batches_are_replaced(processes: WorkerProcesses, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    processes.run([("report", str(pids))] * 4)
    for pid in set(map(int, pids.read_text().split())):
        os.kill(pid, signal.SIGKILL)
    assert processes.run(GOOD * 3) == GOOD_OUTCOMES * 3
    assert processes.counts.memory_kills >= 1


def test_no_worker_starts_before_there_is_work_and_none_is_left_after_close(tmp_path: Path) -> None:
    processes = WorkerProcesses(MISBEHAVE, workers=2, time_limit_s=5.0, memory_limit_mb=128)
    assert processes.run([]) == []
    assert processes.counts.started == 0
    pids = tmp_path / "pids"
    processes.run([("report", str(pids))] * 6)
    processes.close()
    assert all(not lives(int(pid)) for pid in pids.read_text().split())


def test_an_interrupted_batch_leaves_no_stale_answers(processes: WorkerProcesses) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    processes.run(GOOD)
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            processes.run([("sleep", "1"), ("sleep", "2"), ("sleep", "3")])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert processes.run(GOOD) == GOOD_OUTCOMES


def test_workers_that_cannot_start_are_an_error_and_not_a_loop() -> None:
    processes = WorkerProcesses(
        "tests.grading.grading_faults:is_not_there", workers=1, time_limit_s=1.0, memory_limit_mb=128
    )
    with pytest.raises(RuntimeError, match="do not start"):
        processes.run(GOOD)
    processes.close()


def test_a_worker_imports_neither_torch_nor_the_program_that_started_it(processes: WorkerProcesses) -> None:
    assert processes.run([("heavy modules", "")]) == [Outcome.DIFFERENT]
    program = f"""
        from rzero_mega.grading.workers.processes import WorkerProcesses
        print("imported", flush=True)
        if __name__ == "__main__":
            pool = WorkerProcesses({DECIDE!r}, 1, 30.0, 256)
            print(pool.run([("1/2", "0.5")]))
            pool.close()
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stdout.count("imported") == 1
    assert "EQUAL" in result.stdout
    assert result.stderr == ""


def test_a_worker_imports_nothing_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "mpmath.py").write_text("raise RuntimeError('not the library')")
    script = tmp_path / "elsewhere" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "from rzero_mega.grading.workers.processes import DECIDE, WorkerProcesses\n"
        "pool = WorkerProcesses(DECIDE, 1, 30.0, 256)\nprint(pool.run([('1/2', '0.5')]))\npool.close()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "EQUAL" in result.stdout


def test_workers_die_with_a_parent_that_is_killed_even_while_they_are_busy(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = f"""
        from rzero_mega.grading.workers.processes import WorkerProcesses
        WorkerProcesses({MISBEHAVE!r}, 2, 3600.0, 128).run([("report and sleep", {str(pids)!r})] * 2)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT)
    try:
        assert eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    finally:
        parent.kill()
        parent.wait()
    assert eventually(lambda: not any(lives(int(pid)) for pid in pids.read_text().split()))
