"""KL divergence to the reference model, estimated per token."""

from __future__ import annotations

import torch
from torch import Tensor

# Beyond this the exponential of fp32 log-ratios dwarfs the clamp of the result anyway.
LOG_RATIO_BOUND = 20.0


def k3_divergence(logprobs: Tensor, reference_logprobs: Tensor, clamp: float) -> Tensor:
    """exp(d) - d - 1 with d = reference - policy, [t]: unbiased, never negative (Schulman's k3), within +-clamp."""
    difference = (reference_logprobs - logprobs).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    # expm1: near 0, where policies spend their time, exp(d) - 1 would lose what is left of d.
    return (torch.expm1(difference) - difference).clamp(-clamp, clamp)
