"""Traces of chosen steps by torch's profiler: every operator and GPU kernel."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from rzero_mega.atomic import storage_errors

PROFILES = "profile"
"""The folder of a phase's that has them."""


@contextmanager
def step_profile(steps: Collection[int], folder: Path, rank: int, step: int) -> Iterator[None]:
    """Profile the block if the step is one of `steps`, into step_00003-rank-0000.json.gz; Perfetto opens it.

    A block that raises leaves none.
    """
    if step not in steps:
        yield
        return
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=activities) as profiler:
        yield
    path = folder / f"step_{step:05d}-rank-{rank:04d}.json.gz"
    with storage_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(path))
