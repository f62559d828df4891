"""The clipped policy-gradient loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PolicyLoss:
    """Loss per token [t], and which tokens [t] had their ratio clipped (the loss has no gradient there)."""

    loss: Tensor
    clipped: Tensor


def clipped_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, low: float, high: float, dual: float | None
) -> PolicyLoss:
    """max(-A r, -A clip(r, 1 - low, 1 + high)) with r = exp(logprobs - old_logprobs), all [t].

    PPO's clipped objective (arXiv 1707.06347) with separate bounds (DAPO, arXiv 2503.14476). For A < 0 the loss is at
    most -dual * A (dual clip, arXiv 1912.09729), unless `dual` is None.
    """
    ratio = (logprobs - old_logprobs).exp()
    plain = -advantages * ratio
    bounded = -advantages * ratio.clamp(1.0 - low, 1.0 + high)
    loss = torch.maximum(plain, bounded)
    clipped = bounded > plain
    if dual is not None:
        ceiling = -dual * advantages
        over = (advantages < 0) & (loss > ceiling)
        loss, clipped = torch.where(over, ceiling, loss), clipped | over
    return PolicyLoss(loss, clipped)
