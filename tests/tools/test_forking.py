"""Forks of a process whose torch has several threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tools.forking import fork

THREADS = 3


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def test_a_fork_has_torch_s_threads_before_anything_in_it_uses_torch() -> None:
    # Where they are made by the first use, and two threads are the first, one of these fails, once in some dozen times.
    child = fork()
    if child == 0:
        os._exit(len(list(Path("/proc/self/task").iterdir())))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == THREADS
