"""equivalent as a function of the public: its limit, its worker, threads, forks, and the end of the program."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from rzero_mega.grading import equality, equivalent
from tests import ROOT
from tests.processes import eventually, lives

HARD = (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}")
FACTORIALS = "2^{1900}x+" + "".join(f"({k}x/7)!+" for k in range(1, 60))
ENDLESS = (FACTORIALS + "(x+1)!", FACTORIALS + "(x+1)x!")
"""Equal, which takes some hundred values of the gamma function in four thousand digits."""


def own_pids() -> list[int]:
    return equality._per_thread.own.worker.pids


def processor_seconds(pid: int) -> float:
    """Of a process that lives; proc(5)."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def ended_processor_seconds() -> float:
    """Of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_program(text: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys\n" + textwrap.dedent(text)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(("a", "b", "named"), [(1, "1", "a"), ("1", None, "b"), (b"1", "1", "a"), ("1", ["1"], "b")])
def test_anything_but_text_is_a_type_error_of_one_line(a: object, b: object, named: str) -> None:
    with pytest.raises(TypeError, match=f"^equivalent: {named} must be a string, not [a-zA-Z]+$"):
        equivalent(a, b)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match="positive number of seconds"):
        equivalent("1", "1", limit)


def test_what_does_not_end_is_stopped_and_not_equal() -> None:
    assert equivalent(*HARD)
    limit = 2.0
    timeouts, (pid,) = equality._per_thread.own.worker.counts.timeouts, own_pids()
    # The limit is one of a processor's time. That of children is counted when they have ended.
    before = processor_seconds(pid) + ended_processor_seconds()
    assert not equivalent(*ENDLESS, time_limit_s=limit)
    assert equality._per_thread.own.worker.counts.timeouts == timeouts + 1
    assert 0.9 * limit < ended_processor_seconds() - before < 2 * limit
    assert equivalent(*HARD), "a new worker took its place"


def test_a_worker_is_kept_for_later_calls() -> None:
    assert equivalent(*HARD)
    pids = own_pids()
    assert equivalent(r"\sqrt{18}", r"3\sqrt2") and not equivalent("e^{100}", "e^{100}+1")
    assert own_pids() == pids and len(pids) == 1


def test_cheap_pairs_start_no_worker() -> None:
    program = """
        import sys
        from rzero_mega.grading import equality, equivalent
        assert equivalent("1/2", "0.5") and not equivalent("1", "2") and not equivalent("1" * 10**6, "1")
        print(equality._per_thread.own.worker.counts.started, "mpmath.ctx_mp" in sys.modules)
    """
    assert run_program(program).stdout.split() == ["0", "False"]


def test_threads_have_workers_of_their_own_that_end_with_them() -> None:
    assert equivalent(*HARD)
    pids: list[list[int]] = []
    verdicts: list[bool] = []
    everyone_asked = threading.Barrier(3)

    def ask(n: int) -> None:
        verdicts.append(equivalent(rf"\sqrt{{{2 * n * n}}}", rf"{n}\sqrt2"))
        pids.append(own_pids())
        everyone_asked.wait(60)

    threads = [threading.Thread(target=ask, args=(n,)) for n in (5, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [True] * 3
    theirs = [pid for group in pids for pid in group]
    assert len(set(theirs + own_pids())) == 4
    assert eventually(lambda: not any(map(lives, theirs)))
    assert equivalent(r"\sqrt{50}", r"5\sqrt2")


def test_a_forked_child_leaves_its_parents_worker_alone() -> None:
    program = r"""
        import os
        import sys
        from rzero_mega.grading import equality, equivalent
        def pids(): return equality._per_thread.own.worker.pids
        assert equivalent(r"\sqrt{8}", r"2\sqrt2")
        before = pids()
        child = os.fork()
        if child == 0:
            assert equivalent(r"\sqrt{18}", r"3\sqrt2") and pids() != before
            sys.exit(7)  # an orderly end, which closes what the program holds
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert equivalent(r"\sqrt{50}", r"5\sqrt2")
        assert pids() == before and equality._per_thread.own.worker.counts.started == 1
        print("whole")
    """
    done = run_program(program)
    assert done.stdout == "whole\n", done.stderr


@pytest.mark.parametrize("end", ["", "os._exit(0)", "os.kill(os.getpid(), 9)", "1 / 0"])
def test_no_worker_outlives_the_program(end: str) -> None:
    program = f"""
        import os
        from rzero_mega.grading import equality, equivalent
        assert equivalent({HARD[0]!r}, {HARD[1]!r})
        print(equality._per_thread.own.worker.pids[0], flush=True)
        {end}
    """
    pid = int(run_program(program).stdout)
    assert pid != os.getpid() and eventually(lambda: not lives(pid))
