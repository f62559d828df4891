"""What leaving the GPU takes: the checksum of weights, and copies to pageable and to pinned host memory and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from rzero_mega.learner.megatron.process_groups import device
from rzero_mega.weights.verification.gpu_hash import GpuHash
from tools.gpu_steps.models import median_seconds


@dataclass(frozen=True)
class Settings:
    """Bytes that are hashed and copied, and how often."""

    nbytes: int = 1 << 31
    passes: int = 5


@dataclass(frozen=True)
class Rates:
    """Bytes per second, median over passes."""

    hash: float
    to_pageable: float
    to_pinned: float
    from_pageable: float
    from_pinned: float


def run(settings: Settings) -> Rates:
    """Each way on the same bytes."""
    where = device()
    tensor = torch.zeros(settings.nbytes // 2, dtype=torch.bfloat16, device=where)
    pageable = torch.zeros_like(tensor, device="cpu")
    pinned = pageable.pin_memory() if where.type == "cuda" else pageable.clone()

    def hashed() -> None:
        digest = GpuHash(settings.nbytes)
        digest.feed(0, tensor)
        digest.hexdigest()

    hashed()
    ways: dict[str, Callable[[], object]] = {
        "hash": hashed,
        "to_pageable": lambda: pageable.copy_(tensor),
        "to_pinned": lambda: pinned.copy_(tensor, non_blocking=True),
        "from_pageable": lambda: tensor.copy_(pageable),
        "from_pinned": lambda: tensor.copy_(pinned, non_blocking=True),
    }
    return Rates(**{name: settings.nbytes / median_seconds(way, settings.passes) for name, way in ways.items()})
