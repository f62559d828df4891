"""A second signal on the way out: what a rank and what its launcher make of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, signal
from rzero_mega.commands.process import Interruption

Interruption()
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.{second})
    print("cleaned up")
"""


@pytest.mark.parametrize(
    ("rank", "second", "code", "out"),
    [
        ("0", "SIGTERM", 130, ""),
        ("0", "SIGINT", 130, ""),
        (None, "SIGTERM", 0, "cleaned up\n"),
        (None, "SIGINT", 130, ""),
    ],
)
def test_second_signal_never_ends_in_a_traceback(rank: str | None, second: str, code: int, out: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RANK"}
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(second=second)],
        env=environment | ({"RANK": rank} if rank else {}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (process.returncode, process.stdout, process.stderr) == (code, out, "")
