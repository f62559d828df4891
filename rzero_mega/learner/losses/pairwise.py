"""The loss of a Critic: of two answers to a question, how likely its scores make the better one the better one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rzero_mega.learner.losses.grpo import statistics_of


def pairwise_loss(better: Tensor, worse: Tensor) -> Tensor:
    """-log σ(better - worse) of each pair, [n] in fp32 (Bradley and Terry 1952; J-Zero, arXiv 2608.26582)."""
    return -logsigmoid(better - worse)


def pairs_loss(scores: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(loss [], statistics [len(STATISTICS)]) of scores [2n], the better and the worse answer of each pair in turn.

    The loss is the sum over pairs of `weights[::2]` times each one's. The statistics have 0 for what takes tokens.
    """
    loss = (pairwise_loss(scores[::2], scores[1::2]) * weights[::2]).sum()
    with torch.no_grad():
        statistics = statistics_of(loss, len(scores))
    return loss, statistics
