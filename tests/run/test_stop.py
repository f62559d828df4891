"""A request to stop waits until somebody looks, and ends nobody."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal, subprocess, sys, time
from rzero_mega.run.stop import StopRequest, hold_requests

hold_requests()
stop = StopRequest()
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
assert not stop.requested and not stop.take()
os.killpg(os.getpgid(0), signal.SIGUSR1)  # as Slurm does: every process of the job
assert stop.requested and stop.requested
assert stop.take() and not stop.take() and not stop.requested
child.communicate(b"x")
assert child.returncode == 0, child.returncode
print("alive")
"""


def test_a_request_reaches_every_process_and_ends_none() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, start_new_session=True)
    assert done.stdout.strip() == "alive", done.stderr
