"""The loss of supervised fine-tuning: cross entropy of the completions' tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from rzero_mega.learner.losses.grpo import TokenInputs, statistics_of


def sft_loss(logprobs: Tensor, entropy: Tensor, inputs: TokenInputs) -> tuple[Tensor, Tensor]:
    """(loss [], statistics [len(STATISTICS)]) of completions' tokens from their `logprobs` and `entropy`, [n] in fp32.

    The loss is -sum_t weight_t log p_t. The statistics have 0 for what takes a rollout or a reference to compare with.
    """
    loss = -(logprobs * inputs.loss_weight).sum()
    with torch.no_grad():
        statistics = statistics_of(loss, len(logprobs), entropy=entropy)
    return loss, statistics
