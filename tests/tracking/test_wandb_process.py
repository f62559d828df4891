"""The real library: no network, a stopped process, files below the run, and sending what lies offline once."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rzero_mega.errors import UserError
from rzero_mega.run import RunDirectory
from rzero_mega.tracking.wandb_offline import offline_folders, sync_offline, unsent_folders
from rzero_mega.tracking.wandb_process import files_below, within
from tests import ROOT
from tests.tracking.synthetic import write_synthetic_run
from tests.tracking.wandb_server import WandbServer

pytest.importorskip("wandb", reason="wandb is not installed")
KEY = "0123456789abcdef0123456789abcdef01234567"
NOWHERE = "http://127.0.0.1:9"
TRACK = """
import logging, os, signal, sys, time
from pathlib import Path
from tests.tracking import synthetic
from rzero_mega.tracking import WandbRun, wandb_process
logging.basicConfig(level=logging.WARNING)
path, phases, how, mode = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
usual = synthetic.synthetic_config
patience = 120 if mode == "online" else 4  # of a server that is there
synthetic.synthetic_config = lambda *o: usual(*o, f"tracking.wandb={mode}", f"tracking.timeout_s={patience}")
with synthetic.write_synthetic_run(path, phases) as run:
    tracker = WandbRun(run)
    tracker.sync()
    print("active", tracker.active, flush=True)
    if how == "stop":
        for process in wandb_process._cores():
            os.kill(process, signal.SIGSTOP)
    if how == "die with W&B":
        for process in wandb_process._cores():
            os.kill(process, signal.SIGKILL)
    if how in ("kill", "die with W&B"):
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "wait":
        sys.stdin.readline()
    began = time.monotonic()
    tracker.finish()
    print("finished", time.monotonic() - began, flush=True)
"""


def environment(tmp: Path, address: str, key: str = KEY) -> dict[str, str]:
    tmp.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    added = {"TMPDIR": str(tmp), "WANDB_BASE_URL": address, "WANDB_API_KEY": key}
    return {**kept, **added, "PYTHONPATH": str(ROOT), "HOME": str(tmp), "WANDB_ERROR_REPORTING": "false"}


def track(
    run: Path, phases: int, how: str = "end", mode: str = "offline", address: str = NOWHERE, key: str = KEY
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", TRACK, str(run), str(phases), how, mode]
    env = environment(run.parent / "tmp", address, key)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("key", [KEY, "not-a-key"])
def test_no_network_leaves_an_offline_folder_with_the_rows(tmp_path: Path, key: str) -> None:
    done = track(tmp_path / "run", 3, mode="auto", key=key)
    assert "active True" in done.stdout and done.returncode == 0, done.stderr
    assert "going on offline" in done.stderr and "W&B is off" not in done.stderr
    (folder,) = offline_folders(tmp_path / "run")
    assert b"train/challenger/reward_mean" in next(folder.glob("*.wandb")).read_bytes()
    assert key not in done.stdout + done.stderr


def test_a_stopped_process_holds_the_end_up_no_longer_than_told(tmp_path: Path) -> None:
    done = track(tmp_path / "run", 3, "stop")
    assert done.returncode == 0 and "did not finish" in done.stderr, done.stderr
    # Told are 4 s; then come its grace, W&B's own end, and a busy machine. Without a limit it would be 600 s.
    assert float(done.stdout.split("finished")[1]) < 120


def test_temporary_files_lie_below_the_run_and_are_cleared_on_resume(tmp_path: Path) -> None:
    run, usual = tmp_path / "run", tmp_path / "tmp"
    assert track(run, 6, "kill").returncode == -9
    left = {path.name for path in (run / "wandb" / "tmp").iterdir()}
    assert any(name.endswith("wandb-media") for name in left) and any(name.endswith("-artifacts") for name in left)
    assert not [path for path in usual.iterdir() if "media" in path.name or "artifacts" in path.name]
    assert track(run, 6).returncode == 0
    assert not left & {path.name for path in (run / "wandb" / "tmp").iterdir()}
    staged = list((run / "wandb" / "data" / "artifacts" / "staging").iterdir())
    assert staged, "what unsent folders still need stays"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as started:
        for name, value in environment(tmp_path / "tmp", started.address).items():
            monkeypatch.setenv(name, value)
        yield started


def test_every_folder_is_sent_once_those_of_killed_processes_too(tmp_path: Path, server: WandbServer) -> None:
    run = tmp_path / "run"
    track(run, 3)
    track(run, 6)
    log = next(offline_folders(run)[1].glob("*.wandb"))
    log.write_bytes(log.read_bytes()[:-5])  # as after the death of a node: the last record is cut short
    opened = RunDirectory.open_existing(run)
    assert sync_offline(opened) == "offline folders sent: 2"
    steps = server.steps("train/challenger/step")
    assert steps == sorted(set(steps)) and len(steps) == 6
    before = len(server.rows)
    assert sync_offline(opened) == "everything was sent before"
    assert len(server.rows) == before and unsent_folders(run) == []


def test_what_a_killed_online_process_could_not_send_is_sent_by_the_next_one(
    tmp_path: Path, server: WandbServer
) -> None:
    run = tmp_path / "run"
    assert track(run, 2, mode="online", address=server.address).returncode == 0
    first = len(server.rows)
    server.loses = True
    assert track(run, 6, "die with W&B", "online", server.address).returncode == -9
    server.loses = False
    assert len(server.rows) == first
    done = track(run, 6, mode="online", address=server.address)
    assert done.returncode == 0, done.stderr
    steps = [row["_step"] for row in server.rows]
    assert steps == list(range(len(steps))) and len(steps) > first
    challenger, solver = (server.steps(f"train/{phase}/step") for phase in ("challenger", "solver"))
    assert challenger == list(range(1, 7)) and solver == list(range(1, 16))


def test_the_folder_that_a_run_is_writing_waits(tmp_path: Path, server: WandbServer) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-c", TRACK, str(run), "3", "wait", "offline"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and "active" in process.stdout.readline()
        with pytest.raises(UserError, match="still writing this; sync it when its process has ended"):
            sync_offline(RunDirectory.open_existing(run))
        process.communicate("go\n")
    assert server.rows == []
    assert sync_offline(RunDirectory.open_existing(run)) == "offline folders sent: 1"


def test_what_does_not_arrive_is_an_error_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    track(run, 1)
    for name, value in environment(tmp_path / "tmp", NOWHERE).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_X_GRAPHQL_RETRY_MAX", "1")  # 0 is no bound
    with pytest.raises(UserError, match=r"did not take this \(1 of 1 folders failed\)"):
        sync_offline(RunDirectory.open_existing(run))
    assert len(unsent_folders(run)) == 1


def test_a_run_that_was_not_offline_says_so(tmp_path: Path) -> None:
    write_synthetic_run(tmp_path / "run", 1).close()
    with pytest.raises(UserError, match="has no offline folders"):
        sync_offline(RunDirectory.open_existing(tmp_path / "run"))


def test_a_call_that_hangs_is_left_and_one_that_fails_raises() -> None:
    with pytest.raises(TimeoutError, match="no answer within"):
        within(0.05, lambda: time.sleep(5))
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)
    assert within(5, lambda: None) is None


def test_the_process_is_as_before_after_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_CACHE_DIR", "/elsewhere")
    before = tempfile.tempdir, dict(os.environ)
    with files_below(tmp_path / "wandb"):
        assert tempfile.gettempdir() == str(tmp_path / "wandb" / "tmp")
        assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "wandb" / "data")
    assert (tempfile.tempdir, dict(os.environ)) == before
