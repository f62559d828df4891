"""Forks of a process whose torch has several threads."""

from __future__ import annotations

import subprocess
import sys

from tests import ROOT

THREADS = 3
# A process of its own: torch's pool keeps the size that it has at first.
PROGRAM = f"""
import os
import torch
torch.set_num_threads({THREADS})
from tools.forking import fork
child = fork()
if child == 0:
    os._exit(len(os.listdir("/proc/self/task")))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_has_torch_s_threads_before_anything_in_it_uses_torch() -> None:
    # Were they made by the first use, a fork would fail once in some dozen times, when two threads are the first.
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(found.stdout) == THREADS
