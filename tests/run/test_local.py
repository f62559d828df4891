"""Runs without a scheduler: they keep a log with times, `logs` prints it, and `cancel` ends their process."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from rzero_mega.cluster import command
from rzero_mega.config import load_config
from rzero_mega.errors import UserError
from rzero_mega.run import RunDirectory
from rzero_mega.run.job import JobFolder, JobPlace, Leader
from rzero_mega.run.job_logs import log_file, text_of
from rzero_mega.run.local import stop_writer
from rzero_mega.run.run_log import run_log
from rzero_mega.tracking import Progress

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING|ERROR) ")
WRITER = """
import sys, time
from pathlib import Path
from rzero_mega.config import load_config
from rzero_mega.run import RunDirectory

with RunDirectory.create_or_open(Path(sys.argv[1]), load_config(["paper", "nano"]), writer=True):
    print("open", flush=True)
    time.sleep(600)
"""


def new_run(path: Path) -> RunDirectory:
    return RunDirectory.create_or_open(path, load_config(["paper", "nano"]), writer=True)


def test_what_is_told_goes_into_the_log_with_times_whatever_the_terminal_shows(tmp_path: Path) -> None:
    with (
        run_log(tmp_path, 0),
        Progress("nano", 2, console=Console(file=open(os.devnull, "w"), force_terminal=True)) as bars,
    ):
        logging.getLogger("rzero_mega.room").warning("a server ended")
        with bars.phase(1, "solver", 2) as phase:
            phase.advance(1, reward=0.5)
    lines = (tmp_path / "logs" / "rank-0000.log").read_text().splitlines()
    assert all(LINE.match(line) for line in lines)
    told = [LINE.sub("", line) for line in lines]
    assert told[0] == f"started as process {os.getpid()}" and told[-1] == "ended"
    assert told[1:3] == ["a server ended", "iteration 1 · solver · 1/2 · reward 0.5"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("seed: is\nwrong"), "ERROR seed: is wrong"),
        (KeyboardInterrupt(), "ERROR interrupted"),
        (ValueError("odd"), "ValueError: odd"),
    ],
)
def test_what_ends_a_run_is_in_its_log(error: BaseException, line: str, tmp_path: Path) -> None:
    with pytest.raises(type(error)), run_log(tmp_path, 3):
        raise error
    text = (tmp_path / "logs" / "rank-0003.log").read_text()
    assert text.rstrip().endswith(line) and ("Traceback" in text) == isinstance(error, ValueError)


def test_logs_are_those_of_the_start_that_came_last(tmp_path: Path) -> None:
    with run_log(tmp_path, 0):
        pass
    own = tmp_path / "logs" / "rank-0000.log"
    assert log_file(tmp_path, None, 0) == own
    folder = JobFolder(tmp_path, JobPlace("7", 0, 0, 1, "n1"))
    folder.publish_leader(Leader("host", 1))
    (folder.path / "rank-0000.log").write_text("job 7\n")
    os.utime(own, (1, 1))
    assert log_file(tmp_path, None, 0) == folder.path / "rank-0000.log"
    os.utime(own, (2**31, 2**31))
    assert log_file(tmp_path, None, 0) == own and log_file(tmp_path, "7", 0) != own
    assert LINE.match("".join(text_of(own, True, lambda: False)))


def test_cancel_ends_the_process_that_writes_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Slurm may be installed here, and not answer: it has nothing to do with this run.
    monkeypatch.setattr(command, "queued_jobs", lambda _prefix: pytest.fail("asked"))
    path = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        run = RunDirectory.open_existing(path)
        assert command.cancel(run) == "ended; the same command goes on"
        assert process.wait(60) == -signal.SIGTERM and not run.is_alive()
    assert command.cancel(run) == "no job or process is queued or running"


@pytest.mark.parametrize(
    "signed", [{"pid": 1}, {"pid": -1}, {"pid": "x"}, {"host": "another"}, {"pid": os.getppid()}, []]
)
def test_a_signature_that_is_not_the_writer_s_ends_nobody(
    signed: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("somebody was signalled"))
    with new_run(tmp_path / "run") as run:
        lock = run.path / ".lock"
        whole = json.loads(lock.read_bytes())
        lock.write_text(json.dumps({**whole, **signed} if isinstance(signed, dict) else signed))
        with pytest.raises(UserError, match="not by a process of this machine; end it there"):
            stop_writer(run)


def test_a_process_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: None)
    began = time.monotonic()
    with new_run(tmp_path / "run") as run, pytest.raises(UserError, match=f"process {os.getpid()} has not ended"):
        stop_writer(run, timeout_s=0.2)
    assert time.monotonic() - began >= 0.2
