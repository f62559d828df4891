"""The loss of supervised fine-tuning: cross entropy of the completions' tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from rzero_mega.learner.losses.grpo import TokenInputs, statistics_of


def sft_loss(logprobs: Tensor, entropy: Tensor, inputs: TokenInputs) -> tuple[Tensor, Tensor]:
    """(loss [], statistics [len(STATISTICS)]) of one micro-batch from its `logprobs` and `entropy`, [t] in fp32.

    The loss is -sum_t weight_t log p_t over the tokens of the completions. The statistics have 0 for what takes a
    rollout or a reference to compare with.
    """
    mask = inputs.response_mask
    loss = -(logprobs[mask] * inputs.loss_weight[mask]).sum()
    with torch.no_grad():
        statistics = statistics_of(loss, mask, entropy=entropy[mask])
    return loss, statistics
