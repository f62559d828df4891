"""Processes of this machine: which live, which are a run's ranks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.programs import exit_code, start_program


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def eventually(condition: Callable[[], bool], patience_s: float = 60.0) -> bool:
    """Whether the condition holds within `patience_s` seconds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def two_ranks(module: str, folder: Path, patience_s: float) -> list[dict[str, Any]]:
    """Run a module as two ranks that meet in `folder`; what each has left there, as 0.json and 1.json."""
    outputs = [folder / f"{rank}.txt" for rank in range(2)]
    ranks = [start_program(module, folder, output, RANK=str(rank)) for rank, output in enumerate(outputs)]
    assert [exit_code(rank, patience_s) for rank in ranks] == [0, 0], [output.read_text() for output in outputs]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def ranks_of(config: str) -> list[psutil.Process]:
    """The processes of the learner that were started on this file of a run's configuration."""
    commands = [(process, process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [process for process, command in commands if config in command and {"phase", "run"} & {*command}]
