"""Seconds of things run in turn, and how far the memory of a process rises."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median


def alternate(
    repeats: int, ways: Mapping[str, Callable[[], object]], clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Median seconds of each way, run in turn; rounds begin with different ones, the first isn't counted.

    Processor seconds by default: where a process computes with one thread they are what its steps take on a machine of
    its own, while other work on this machine would count in time by the clock.
    """
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_number in range(repeats + 1):
        first = round_number % len(names)
        for name in names[first:] + names[:first]:
            start = clock()
            ways[name]()
            if round_number:
                seconds[name].append(clock() - start)
    return {name: median(values) for name, values in seconds.items()}


class Peak:
    """How far the memory of this process rises above where it was, in bytes, inside the block.

    It is the kernel's high-water mark of resident memory (VmHWM), which counts whatever torch or its libraries touch.
    """

    nbytes = 0

    def __enter__(self) -> Peak:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
        self._before = resident("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.nbytes = resident("VmHWM") - self._before


def resident(field: str) -> int:
    """Bytes of a field of /proc/self/status: VmRSS now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {field}")
