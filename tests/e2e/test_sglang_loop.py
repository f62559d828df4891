"""The whole loop at a tiny size, with SGLang's servers as Challenger and Solver, in an environment of their own."""

from __future__ import annotations

import json
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from rzero_mega.rollout.sglang.server.shared_memory import shared_files
from tests.e2e.command import run, start, tiny
from tests.second_environment import LEARNERS_ALONE, poisoned, servers_environment

pytestmark = [pytest.mark.sglang, pytest.mark.e2e]

SGLANG = [
    "rollout.engine=sglang",
    "rollout.sglang.max_total_tokens=20000",
    "challenger.training.ahead=1",
    "placement.servers=split",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sglang-loop")
    python = servers_environment(folder / "servers")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("PYTHONPATH", str(poisoned(folder / "poison", "sglang")))
    process = start(folder, *tiny("loop", *SGLANG, f"rollout.sglang.python={python}", processes=2))
    monkeypatch.undo()
    shared: set[str] = set()
    watch = threading.Thread(target=watch_shared_files, args=(process, shared))
    watch.start()
    out, err = process.communicate(timeout=600)
    watch.join()
    assert process.returncode == 0, err
    (folder / "stdout").write_text(out)
    (folder / "shared.json").write_text(json.dumps(sorted(shared)))
    return folder


def watch_shared_files(process: subprocess.Popen[str], found: set[str]) -> None:
    """Collect the files in /dev/shm of the servers below a process: other tests' servers make such files, too."""
    while process.poll() is None:
        with suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                found |= {str(path) for path in shared_files(child.pid)}
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)


def rows(folder: Path, phase: str) -> list[dict[str, float]]:
    file = folder / "runs" / "loop" / "iterations" / "1" / phase / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_phase_finishes_on_two_servers(folder: Path) -> None:
    status = json.loads(run(folder, "status", "--json").stdout)
    assert status["state"] == "finished"
    assert set(status["iterations"][1]["seconds"]) == {"challenger", "questions", "labels", "solver", "evaluate"}
    assert {path.name for path in (folder / "runs" / "loop" / "servers").iterdir() if path.is_file()} == {
        *("challenger-0.log", "challenger-0-a1.address.json"),
        *("solver-0.log", "solver-0-a1.address.json"),
    }


@pytest.mark.parametrize("phase", ["challenger", "solver"])
def test_learner_and_server_agree_after_every_update(folder: Path, phase: str) -> None:
    found = rows(folder, phase)
    assert len(found) > 1
    for row in found:
        assert 0 < row["probe_difference"] < 1e-5
        assert row["staleness"] > 0 or row["logprob_difference"] < 1e-5


def test_the_challenger_s_rollouts_are_drawn_one_step_ahead_and_the_solver_s_are_not(folder: Path) -> None:
    ahead = rows(folder, "challenger")
    assert [row["staleness"] for row in ahead] == [0.0] + [1.0] * (len(ahead) - 1)
    assert all(row["logprob_difference"] > 1e-5 for row in ahead[1:])
    assert {row["staleness"] for row in rows(folder, "solver")} == {0.0}


def test_the_log_says_how_weights_go_and_why(folder: Path) -> None:
    assert "weights go by collective: learner on cpu, servers on cpu" in (folder / "stdout").read_text()


def test_servers_run_in_their_environment_and_the_log_says_what_both_hold(folder: Path) -> None:
    lines = (folder / "stdout").read_text().splitlines()
    (learner,) = [line for line in lines if line.startswith("learner: ")]
    (servers,) = [line for line in lines if line.startswith("servers: ")]
    assert "megatron-core 0.1" in learner and str(folder) not in learner
    assert "sglang 0.5.23, torch " in servers and servers.endswith(f"({folder}/servers/bin/python)")
    packages = {path.name.partition("-")[0] for path in folder.glob("servers/lib/*/site-packages/*")}
    assert "sglang" in packages and not packages & set(LEARNERS_ALONE)


def test_no_server_and_no_shared_file_is_left(folder: Path) -> None:
    shared = [Path(path) for path in json.loads((folder / "shared.json").read_text())]
    assert any(path.name.startswith("sglang_") for path in shared)
    assert [path for path in shared if path.exists()] == []
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if str(folder) in command]


def test_an_fp8_export_that_no_cpu_server_can_take_is_one_line_before_anything_starts(tmp_path: Path) -> None:
    result = run(tmp_path, *tiny("fp8", *SGLANG, "weights.quantization=fp8_block"))
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "weights.quantization fp8_block" in line and "CPU" in line
