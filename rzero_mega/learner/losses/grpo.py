"""GRPO's loss of one micro-batch, put together from its terms, with the sums behind its metrics."""

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
    """What the loss knows of every token besides the policy's log-probabilities: [t] each, in fp32 but for the mask.

    `old_logprobs` None stands for the policy itself before the update: with one update per step the two are the same.
    `reference_logprobs` are those of the model at the start of the phase, `base_logprobs` those of the base model; None
    leaves the KL term to it out.
    """

    response_mask: Tensor
    loss_weight: Tensor
    advantages: Tensor
    rollout_logprobs: Tensor
    old_logprobs: Tensor | None
    reference_logprobs: Tensor | None
    base_logprobs: Tensor | None = None


# Names of the statistics that a loss returns, in order: the loss and sums over response tokens, then maxima over
# response tokens, which are 0 where there are none.
SUMS = ("loss", "tokens", "kl", "kl_base", "entropy", "clipped", "logprob_difference", "importance", "ratio")
MAXIMA = ("logprob_difference_max", "ratio_max")
STATISTICS = (*SUMS, *MAXIMA)


def grpo_loss(logprobs: Tensor, entropy: Tensor, inputs: TokenInputs, config: GrpoConfig) -> tuple[Tensor, Tensor]:
    """(loss [], statistics [len(STATISTICS)]) of one micro-batch from its `logprobs` and `entropy`, [t] in fp32.

    The loss is sum_t weight_t (importance_t policy_t + beta kl_t + gamma kl_base_t): arXiv 2402.03300 with truncated
    importance sampling, and a second KL term, to the base model.
    Only response tokens are looked at: a weight of zero would not keep infinities elsewhere out of the gradient.
    """
    mask = inputs.response_mask
    logprobs, weight, rollout = logprobs[mask], inputs.loss_weight[mask], inputs.rollout_logprobs[mask]
    old = logprobs.detach() if inputs.old_logprobs is None else inputs.old_logprobs[mask]
    policy = clipped_policy_loss(
        logprobs, old, inputs.advantages[mask], config.clip_low, config.clip_high, config.dual_clip
    )
    importance = truncated_importance(old, rollout, config.importance_cap)
    per_token = importance * policy.loss
    kl = kl_base = torch.zeros_like(logprobs)
    if inputs.reference_logprobs is not None:
        kl = k3_divergence(logprobs, inputs.reference_logprobs[mask], config.kl_clamp)
        per_token = per_token + config.kl_coefficient * kl
    if inputs.base_logprobs is not None:
        kl_base = k3_divergence(logprobs, inputs.base_logprobs[mask], config.kl_clamp)
        per_token = per_token + config.kl_base_coefficient * kl_base
    loss = (per_token * weight).sum()
    with torch.no_grad():
        statistics = statistics_of(
            loss,
            mask,
            kl=kl,
            kl_base=kl_base,
            entropy=entropy[mask],
            clipped=policy.clipped.float(),
            logprob_difference=(old - rollout).abs(),
            importance=importance,
            ratio=(logprobs - old).exp(),
        )
    return loss, statistics


def statistics_of(loss: Tensor, mask: Tensor, **columns: Tensor) -> Tensor:
    """[len(STATISTICS)] from the loss, the response mask [t] and a column [response tokens] for each of `SUMS`.

    A column that is left out counts as zeros.
    """
    nothing = loss.new_zeros(int(mask.sum()))
    found = {name: columns.get(name, nothing) for name in SUMS[2:]}
    sums = [loss, mask.sum().float(), *(found[name].sum() for name in SUMS[2:])]
    return torch.stack([*sums, *(_largest(found[name.removesuffix("_max")]) for name in MAXIMA)])


def _largest(column: Tensor) -> Tensor:
    return column.max() if len(column) else column.new_zeros([])
