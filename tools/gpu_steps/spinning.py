"""A decode-sized graph of matrix products alone, and beside blocks that spin, as those of a waiting collective do.

One GPU has no peer to wait for, so a kernel of ours takes the collective's place: so many blocks of as many threads as
NCCL's, each of which reads a flag until it is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from rzero_mega.learner.megatron.process_groups import device
from tools.gpu_steps.models import median_seconds, synchronize


@dataclass(frozen=True)
class Settings:
    """`batch` rows through `layers` layers of two products [hidden, ffn] and back; numbers of blocks that spin."""

    batch: int = 64
    hidden: int = 4096
    ffn: int = 12288
    layers: int = 36
    blocks: tuple[int, ...] = (2, 8, 16, 32)
    replays: int = 20


@dataclass(frozen=True)
class Beside:
    """Median seconds of a graph's pass, alone and by the number of blocks beside it, and how much slower that is."""

    alone_seconds: float
    seconds: dict[int, float]
    slowdown: dict[int, float]


def run(settings: Settings) -> Beside:
    """Time the graph's passes while nothing spins, then beside each number of blocks."""
    once = _graph(settings)
    alone = median_seconds(once, settings.replays, _wait)
    seconds = {}
    for blocks in settings.blocks:
        with _spinning(blocks):
            seconds[blocks] = median_seconds(once, settings.replays, _wait)
    return Beside(alone, seconds, {blocks: value / alone for blocks, value in seconds.items()})


def _graph(settings: Settings) -> Callable[[], None]:
    """The products as a CUDA graph; without a GPU as they are."""
    where = device()
    dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
    x = torch.randn(settings.batch, settings.hidden, device=where, dtype=dtype)
    up = torch.randn(settings.layers, settings.hidden, settings.ffn, device=where, dtype=dtype).mul_(0.01)
    down = torch.randn(settings.layers, settings.ffn, settings.hidden, device=where, dtype=dtype).mul_(0.01)

    def once() -> None:
        y = x
        for a, b in zip(up, down, strict=True):
            y = (y @ a) @ b

    if where.type != "cuda":
        return once
    once()
    synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        once()
    return graph.replay


def _wait() -> None:
    """Not for the whole device, on which something may spin."""
    if torch.cuda.is_available():
        torch.cuda.current_stream().synchronize()


@contextmanager
def _spinning(blocks: int) -> Iterator[None]:
    """Inside, so many blocks of 512 threads wait on the GPU; without one nothing does."""
    if not torch.cuda.is_available():
        yield
        return
    from tools.gpu_steps.spinning_kernel import wait_for_flag

    flag = torch.zeros(1, dtype=torch.int32, device=device())
    waiting, setting = torch.cuda.Stream(), torch.cuda.Stream()
    synchronize()
    with torch.cuda.stream(waiting):
        wait_for_flag(flag, blocks)
    try:
        yield
    finally:
        _set(flag, setting)
        synchronize()


def _set(flag: Tensor, stream: torch.cuda.Stream) -> None:
    with torch.cuda.stream(stream):
        flag.fill_(1)
