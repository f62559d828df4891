"""The processes of a job end together."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from rzero_mega.run import launch as launch_module
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
