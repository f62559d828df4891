"""GRPO's loss of one micro-batch, put together from its terms, with the sums behind its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from rzero_mega.config.schema import GrpoConfig
from rzero_mega.learner.losses.cispo import cispo_loss
from rzero_mega.learner.losses.gspo import sequence_log_ratio
from rzero_mega.learner.losses.importance import differences, truncated_importance
from rzero_mega.learner.losses.kl import k3_divergence
from rzero_mega.learner.losses.policy import PolicyLoss, clipped_policy_loss


@dataclass(frozen=True)
class TokenInputs:
    """What the loss knows of every response token besides the policy's log-probability: [n] each, in fp32.

    `old_logprobs` None stands for the policy itself before the update: with one update per step the two are the same.
    `reference_logprobs` are those of the model at the start of the phase, `base_logprobs` those of the base model; None
    leaves the KL term to it out. `sequence_log_ratios` are the means of log policy / old policy over the token's whole
    sequence, for losses that take them (`objective.has_sequence_ratio`).
    """

    loss_weight: Tensor
    advantages: Tensor
    rollout_logprobs: Tensor
    old_logprobs: Tensor | None
    reference_logprobs: Tensor | None
    base_logprobs: Tensor | None = None
    sequence_log_ratios: Tensor | None = None

    def part(self, tokens: slice | Tensor) -> TokenInputs:
        """Those of some tokens."""
        columns: dict[str, Any] = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return replace(self, **{name: column[tokens] for name, column in columns.items() if column is not None})


# Names of the statistics that a loss returns, in order: the loss and sums over response tokens, then maxima over
# response tokens, which are 0 where there are none.
SUMS = (
    *("loss", "tokens", "kl", "kl_base", "entropy", "clipped", "logprob_difference"),
    *("rollout_kl", "importance_outside", "importance", "ratio"),
)
MAXIMA = ("logprob_difference_max", "ratio_max")
STATISTICS = (*SUMS, *MAXIMA)


def grpo_loss(logprobs: Tensor, entropy: Tensor, inputs: TokenInputs, config: GrpoConfig) -> tuple[Tensor, Tensor]:
    """(loss [], statistics [len(STATISTICS)]) of response tokens from their `logprobs` and `entropy`, [n] in fp32.

    The loss is sum_t weight_t (importance_t policy_t + beta kl_t + gamma kl_base_t): arXiv 2402.03300 with truncated
    importance sampling, and a second KL term, to the base model.
    """
    old = logprobs.detach() if inputs.old_logprobs is None else inputs.old_logprobs
    policy = _policy_loss(logprobs, logprobs - old, inputs, config)
    importance = truncated_importance(old, inputs.rollout_logprobs, config.importance_cap)
    per_token = importance * policy.loss
    kl = kl_base = torch.zeros_like(logprobs)
    if inputs.reference_logprobs is not None:
        kl = k3_divergence(logprobs, inputs.reference_logprobs, config.kl_clamp)
        per_token = per_token + config.kl_coefficient * kl
    if inputs.base_logprobs is not None:
        kl_base = k3_divergence(logprobs, inputs.base_logprobs, config.kl_clamp)
        per_token = per_token + config.kl_base_coefficient * kl_base
    loss = (per_token * inputs.loss_weight).sum()
    with torch.no_grad():
        statistics = statistics_of(
            loss,
            len(logprobs),
            kl=kl,
            kl_base=kl_base,
            entropy=entropy,
            clipped=policy.clipped.float(),
            **differences(old, inputs.rollout_logprobs),
            importance=importance,
            ratio=(logprobs - old).exp(),
        )
    return loss, statistics


def _policy_loss(logprobs: Tensor, log_ratio: Tensor, inputs: TokenInputs, config: GrpoConfig) -> PolicyLoss:
    low, high = config.clip_low, config.clip_high
    if config.policy_loss == "cispo":
        return cispo_loss(logprobs, log_ratio, inputs.advantages, low, high)
    # Without old log-probabilities all ratios are 1, those of sequences too.
    if config.policy_loss == "gspo" and inputs.old_logprobs is not None:
        if inputs.sequence_log_ratios is None:
            raise ValueError("GSPO needs the sequences' log-ratios")
        log_ratio = sequence_log_ratio(log_ratio, inputs.sequence_log_ratios)
    return clipped_policy_loss(log_ratio, inputs.advantages, low, high, config.dual_clip)


def statistics_of(loss: Tensor, tokens: int, **columns: Tensor) -> Tensor:
    """[len(STATISTICS)] from the loss of so many response tokens [n] and a column [n] for each further one of `SUMS`.

    A column that is left out counts as zeros.
    """
    nothing = loss.new_zeros(tokens)
    found = {name: columns.get(name, nothing) for name in SUMS[2:]}
    sums = [loss, loss.new_tensor(tokens), *(found[name].sum() for name in SUMS[2:])]
    return torch.stack([*sums, *(_largest(found[name.removesuffix("_max")]) for name in MAXIMA)])


def merged(rows: Sequence[Tensor]) -> Tensor:
    """Statistics [len(STATISTICS)] of tokens whose parts have those of `rows`."""
    table = torch.stack(list(rows))
    return torch.cat([table[:, : len(SUMS)].sum(0), table[:, len(SUMS) :].amax(0)])


def _largest(column: Tensor) -> Tensor:
    return column.max() if len(column) else column.new_zeros([])
