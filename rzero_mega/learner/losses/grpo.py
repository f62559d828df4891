"""GRPO's loss of one micro-batch, put together from its pieces, with the sums behind its metrics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rzero_mega.config.schema import GrpoConfig
from rzero_mega.learner.losses.importance import truncated_importance
from rzero_mega.learner.losses.kl import k3_divergence
from rzero_mega.learner.losses.policy import clipped_policy_loss


@dataclass(frozen=True)
class TokenInputs:
    """What the loss knows of every token [t] besides the policy's log-probabilities.

    `old_logprobs` None stands for the policy itself before the update: with one update per batch the two are the same.
    """

    response: Tensor
    weight: Tensor
    advantage: Tensor
    rollout_logprobs: Tensor
    old_logprobs: Tensor | None
    reference_logprobs: Tensor | None


# Names of the sums that `grpo_loss` returns, in order; all over response tokens but the first, which is the loss.
SUMS = ("loss", "tokens", "kl", "entropy", "clipped", "logprob_difference", "importance", "ratio")


def grpo_loss(logprobs: Tensor, entropy: Tensor, inputs: TokenInputs, config: GrpoConfig) -> tuple[Tensor, Tensor]:
    """(loss, sums [len(SUMS)]) of one micro-batch; the loss is sum_t weight_t (importance_t policy_t + beta kl_t)."""
    old = logprobs.detach() if inputs.old_logprobs is None else inputs.old_logprobs
    policy = clipped_policy_loss(
        logprobs, old, inputs.advantage, config.clip_low, config.clip_high, config.dual_clip
    )
    importance = truncated_importance(old, inputs.rollout_logprobs, config.importance_cap)
    per_token = importance * policy.loss
    kl = torch.zeros_like(logprobs)
    if inputs.reference_logprobs is not None:
        kl = k3_divergence(logprobs, inputs.reference_logprobs, config.kl_clamp)
        per_token = per_token + config.kl_coefficient * kl
    # Positions outside responses carry no weight, yet 0 x inf would be nan.
    loss = torch.where(inputs.weight > 0, per_token * inputs.weight, 0.0).sum()
    with torch.no_grad():
        mask = inputs.response
        columns = [
            kl,
            entropy,
            policy.clipped.float(),
            (old - inputs.rollout_logprobs).abs(),
            importance,
            (logprobs - old).exp(),
        ]
        sums = torch.stack([loss.detach(), mask.sum().float(), *(c[mask].sum() for c in columns)])
    return loss, sums
