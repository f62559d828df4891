"""CISPO: the probability ratio is clipped as a weight, and no token loses its gradient."""

from __future__ import annotations

from torch import Tensor

from rzero_mega.learner.losses.policy import PolicyLoss


def cispo_loss(logprobs: Tensor, log_ratio: Tensor, advantages: Tensor, low: float, high: float) -> PolicyLoss:
    """-A clip(r, 1 - low, 1 + high) logprobs, all [n], with r = exp(log_ratio) held constant (arXiv 2506.13585).

    Where r lies within the bounds the gradient is that of `clipped_policy_loss`, for grad r = r grad logprobs.
    """
    ratio = log_ratio.detach().exp()
    weight = ratio.clamp(1.0 - low, 1.0 + high)
    return PolicyLoss(-advantages * weight * logprobs, weight != ratio)
