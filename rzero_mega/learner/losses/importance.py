"""Correction for rollouts whose log-probabilities differ from the learner's."""

from __future__ import annotations

import torch
from torch import Tensor


def truncated_importance(old_logprobs: Tensor, rollout_logprobs: Tensor, cap: float | None) -> Tensor:
    """min(exp(old - rollout), cap) per token [t], without gradient; ones if `cap` is None.

    The learner's policy before the update over the one that the engine sampled from; truncated importance sampling
    (arXiv 1802.01561 truncates its weights alike).
    """
    if cap is None:
        return torch.ones_like(old_logprobs)
    return (old_logprobs - rollout_logprobs).detach().exp().clamp(max=cap)
