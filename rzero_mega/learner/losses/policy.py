"""The clipped policy-gradient loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PolicyLoss:
    """Loss per token [n], and which tokens [n] had their ratio clipped."""

    loss: Tensor
    clipped: Tensor


def clipped_policy_loss(
    log_ratio: Tensor, advantages: Tensor, low: float, high: float, dual: float | None
) -> PolicyLoss:
    """max(-A r, -A clip(r, 1 - low, 1 + high)) with r = exp(log_ratio), all [n]; no gradient where it is clipped.

    PPO's clipped objective (arXiv 1707.06347) with separate bounds (DAPO, arXiv 2503.14476). For A < 0 the loss is at
    most -dual * A (dual clip, arXiv 1912.09729), unless `dual` is None.
    """
    ratio = log_ratio.exp()
    plain = -advantages * ratio
    bounded = -advantages * ratio.clamp(1.0 - low, 1.0 + high)
    loss = torch.maximum(plain, bounded)
    clipped = bounded > plain
    if dual is not None:
        ceiling = -dual * advantages
        over = (advantages < 0) & (loss > ceiling)
        loss, clipped = torch.where(over, ceiling, loss), clipped | over
    return PolicyLoss(loss, clipped)
