"""The most memory that torch needs for something."""

from __future__ import annotations

from collections.abc import Callable

import torch


def peak_allocated(work: Callable[[], object]) -> int:
    """The most bytes that torch had allocated at once while `work` ran, beyond what there was before.

    On the GPU if there is one, else in host memory.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    now = peak = 0
    for event in profile.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak
