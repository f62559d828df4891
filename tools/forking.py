"""Forks of a process that has imported torch."""

from __future__ import annotations

import os

import torch


def fork() -> int:
    """`os.fork` with a child that may use torch in several threads at once.

    The first use after a fork makes torch's pool of threads anew; where two threads are the first, one of them finds
    none ("Invalid thread pool!"). transformers loads weights in several threads.
    """
    child = os.fork()
    if child == 0:
        torch.set_num_threads(torch.get_num_threads())
    return child
