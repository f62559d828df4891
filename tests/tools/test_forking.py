"""Forks whose threads use torch at once."""

from __future__ import annotations

import subprocess
import sys

from tests import ROOT

# A process of its own, with a pool of three threads. Of plain forks one in ten or so fails here.
PROGRAM = """
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
import torch
from tools.forking import fork

torch.set_num_threads(3)
values = torch.ones(70_000)  # so many that torch shares them out among its threads
failed = 0
for _ in range(100):
    child = fork()
    if child == 0:
        together, code = Barrier(8), 1
        try:
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(lambda _: (together.wait(), values.to(torch.float64)), range(8)))
            code = 0
        finally:
            os._exit(code)
    failed += os.waitpid(child, 0)[1] != 0
print(failed)
"""


def test_all_threads_of_a_fork_may_be_the_first_to_use_torch() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(found.stdout) == 0
