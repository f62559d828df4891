"""Rollouts whose log-probabilities differ from the learner's: by how much, and the correction for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rzero_mega.learner.losses.kl import k3_divergence

# Past a factor of this between learner and engine a token counts as one that they differ about.
FACTOR = 2.0


def truncated_importance(old_logprobs: Tensor, rollout_logprobs: Tensor, cap: float | None) -> Tensor:
    """min(exp(old - rollout), cap) per token [t], without gradient; ones if `cap` is None.

    The learner's policy before the update over the one that the engine sampled from; truncated importance sampling
    (arXiv 1802.01561 truncates its weights alike).
    """
    if cap is None:
        return torch.ones_like(old_logprobs)
    return (old_logprobs - rollout_logprobs).detach().exp().clamp(max=cap)


def differences(old_logprobs: Tensor, rollout_logprobs: Tensor) -> dict[str, Tensor]:
    """Per token [t]: |log-ratio|, the engine's KL divergence to the learner by k3, whether the ratio is past FACTOR.

    Tokens are drawn by the engine, so that k3 of their ratios is that divergence's estimate.
    """
    difference = (old_logprobs - rollout_logprobs).abs()
    return {
        "logprob_difference": difference,
        "rollout_kl": k3_divergence(rollout_logprobs, old_logprobs, math.inf),
        "importance_outside": (difference > math.log(FACTOR)).to(difference.dtype),
    }
