"""The processes of a job end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from rzero_mega.errors import UserError
from rzero_mega.run import launch as launch_module
from rzero_mega.run.heartbeat import FOUND, is_stopped
from rzero_mega.run.launch import PEER_LOST_EXIT_CODE, STORE, FirstDeath, RankGroup, check_rank
from rzero_mega.run.stop import StopRequest
from tests.processes import eventually

KILLED = "import os; os.kill(os.getpid(), 9)"
STOPPED = "import os; os.kill(os.getpid(), 19)"
WAITS = "import signal; signal.pause()"
PEER_LOST = f"import sys; sys.exit({PEER_LOST_EXIT_CODE})"
USER_ERROR = "import sys; sys.exit(2)"
BUG = "raise RuntimeError"
FOUND_ONE = f"""
import os, sys
with open(os.environ["{FOUND}"], "w") as file:
    file.write("rank 0 (process 7 on n1) has not moved")
sys.exit(124)
"""
PATIENCE_S = 1.0


@pytest.mark.parametrize(
    ("codes", "death", "why"),
    [
        ((WAITS, KILLED), FirstDeath(1, -9), "rank 1 was killed by SIGKILL"),
        ((PEER_LOST, KILLED), FirstDeath(1, -9), "rank 1 was killed by SIGKILL"),
        ((PEER_LOST, BUG), FirstDeath(1, 1), ""),
        ((BUG, USER_ERROR), FirstDeath(1, 2), ""),
        ((PEER_LOST, PEER_LOST), FirstDeath(0, 76), "rank 0 lost its connection to the other ranks, none of which"),
        (
            (WAITS, STOPPED),
            FirstDeath(1, 124, 1.0),
            "rank 1 was stopped by a signal and did not go on for 1 s (learner",
        ),
        ((STOPPED, STOPPED), FirstDeath(0, 124, 1.0), "rank 0 was stopped by a signal and did not go on for 1 s (lear"),
        # The other rank notices first.
        ((STOPPED, FOUND_ONE), FirstDeath(0, 124, 60.0), "rank 0 was stopped by a signal and did not go on for 60 s"),
        (
            (WAITS, FOUND_ONE),
            FirstDeath(1, 124, None, "rank 0 (process 7 on n1) has not moved"),
            "rank 0 (process 7 on n1) has not moved",
        ),
    ],
)
def test_one_rank_is_named_for_the_end_of_all_and_none_is_left(
    codes: tuple[str, str], death: FirstDeath, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(_arguments: Sequence[str], environment: Mapping[str, str], _log: Path | None) -> subprocess.Popen[bytes]:
        code = codes[int(environment["RANK"])]
        rank = subprocess.Popen([sys.executable, "-S", "-c", code], stderr=-3, env=environment)
        started.append(rank)
        # Each is where it was to be before anybody looks, however busy the machine is.
        if code == STOPPED:
            assert eventually(lambda: is_stopped(rank.pid))
        elif code != WAITS:
            rank.wait()
        return rank

    monkeypatch.setattr(launch_module, "_start", start)
    monkeypatch.setattr(launch_module, "GRACE_S", 1.0)
    monkeypatch.setattr(launch_module, "SETTLE_S", 0.0)
    found = launch_module.launch([], 2, StopRequest(), 60.0 if FOUND_ONE in codes else PATIENCE_S)
    assert found == death
    assert found.why().startswith(why) and bool(found.why()) == bool(why)
    assert all(process.poll() is not None for process in started)


@pytest.mark.parametrize(("code", "shells"), [(-9, 137), (2, 2), (75, 75)])
def test_a_code_is_that_of_a_shell(code: int, shells: int) -> None:
    assert FirstDeath(1, code).exit_code == shells


def test_a_rank_that_is_stopped_for_a_moment_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    monkeypatch.setattr(launch_module, "_start", lambda *_: child)
    with RankGroup([], range(1), 1, {}, None, 60.0) as group:
        child.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            assert group.poll() is None
            time.sleep(0.1)
        child.send_signal(signal.SIGCONT)
        child.communicate(b"\n", timeout=60)
        assert group.poll() == 0 and group.first_death is None


# What a rank's interpreter does before anything of ours: it says that it is there, and waits to be let through.
GATE = """
import os
if "RANK" in os.environ:
    os.write(1, b"here\\n")  # in one piece: another rank says the same at the same time
    os.read(os.open(os.environ["GATE"], os.O_RDONLY), 1)
"""
LAUNCHER = """
from rzero_mega.run.launch import launch
from rzero_mega.run.launch import PEER_LOST_EXIT_CODE, FirstDeath, RankGroup
from rzero_mega.run.stop import StopRequest

launch(["version"], 2, StopRequest(), 300.0)
"""


def test_ranks_whose_launcher_is_killed_before_they_can_ask_to_die_with_it_do_not_survive_it(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "sitecustomize.py").write_text(GATE)
    environment = {**os.environ, "GATE": str(gate), "PYTHONPATH": str(tmp_path)}
    opened = os.open(gate, os.O_RDWR)
    try:
        launcher = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert launcher.stdout is not None
        assert [launcher.stdout.readline() for _ in range(2)] == ["here\n"] * 2
        launcher.kill()
        launcher.wait()
        os.write(opened, b"..")
        # The ranks have this pipe too: it ends with the last of them, and a rank that lives on prints the version.
        with launcher.stdout as output:
            assert output.read() == ""
    finally:
        os.close(opened)


COMPLETE = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "n1", "MASTER_PORT": "29500"}


def test_the_environment_of_a_rank_is_whole_or_not_there() -> None:
    check_rank({})
    check_rank({"WORLD_SIZE": "8", "MASTER_ADDR": "n1"})
    check_rank(COMPLETE)
    check_rank({"RANK": "1", "WORLD_SIZE": "2", STORE: "/tmp/store"})


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"RANK": "0"}, "RANK is set, and WORLD_SIZE, MASTER_ADDR, MASTER_PORT is not; unset RANK"),
        ({"RANK": ""}, "WORLD_SIZE"),
        *(({**COMPLETE, name: ""}, name) for name in ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")),
        *(({**COMPLETE, name: "x"}, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")),
        ({**COMPLETE, "RANK": "2"}, "RANK is 2 of WORLD_SIZE 2"),
        ({"RANK": "0", STORE: "/tmp/store"}, "WORLD_SIZE is not"),
    ],
)
def test_half_of_it_is_named_with_what_to_do(environment: dict[str, str], named: str) -> None:
    with pytest.raises(UserError) as caught:
        check_rank(environment)
    assert named in str(caught.value) and "unset RANK" in str(caught.value)


@pytest.mark.parametrize("python_path", [None, "", ":", ":/nowhere"])
def test_ranks_import_nothing_from_the_working_folder(
    python_path: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("secrets", "random", "typing_extensions", "yaml", "rich", "rzero_mega"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(77)\n")
    monkeypatch.chdir(tmp_path)
    if python_path is not None:
        monkeypatch.setenv("PYTHONPATH", python_path)
    assert launch_module.launch(["config", "nano"], 1, StopRequest(), 300.0) is None
