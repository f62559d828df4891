"""The processes of a job end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from rzero_mega.errors import UserError
from rzero_mega.run import launch as launch_module
from rzero_mega.run.launch import STORE, check_rank
from rzero_mega.run.stop import StopRequest


def test_a_killed_rank_ends_the_others_which_would_wait_for_it_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(_arguments: Sequence[str], environment: Mapping[str, str], _log: Path | None) -> subprocess.Popen[bytes]:
        first = environment["RANK"] == "0"
        code = "import signal; signal.pause()" if first else "import os; os.kill(os.getpid(), 9)"
        started.append(subprocess.Popen([sys.executable, "-c", code]))
        return started[-1]

    monkeypatch.setattr(launch_module, "_start", start)
    assert launch_module.launch([], 2, StopRequest()) == -signal.SIGKILL
    assert [process.poll() for process in started] == [-signal.SIGTERM, -signal.SIGKILL]


# What a rank's interpreter does before anything of ours: it says that it is there, and waits to be let through.
GATE = """
import os
if "RANK" in os.environ:
    os.write(1, b"here\\n")  # in one piece: another rank says the same at the same time
    os.read(os.open(os.environ["GATE"], os.O_RDONLY), 1)
"""
LAUNCHER = """
from rzero_mega.run.launch import launch
from rzero_mega.run.stop import StopRequest

launch(["version"], 2, StopRequest())
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
    assert launch_module.launch(["config", "nano"], 1, StopRequest()) == 0
