"""Peak memory of log-probabilities at v = 151,936, forward and backward: over all tokens at once, and ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.learner.losses.grpo import STATISTICS
from rzero_mega.learner.megatron.process_groups import start_process_groups
from rzero_mega.learner.output_layer import OutputLayer, output_loss
from tools.measurement import Peak

VOCABULARY, HIDDEN = 151_936, 256
Likelihood = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass
class LogProbMemory:
    """What one way needs above hidden states and weights; `total` and `gradient_norm` show that ways agree."""

    tokens: int
    vocabulary: int
    nbytes: int
    seconds: float
    total: float
    gradient_norm: float


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities [t] of targets through all logits [t, v] in fp32."""
    logits = (hidden @ weight.T).float()
    return logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]


def plain_likelihood(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The sum of them."""
    return plain(hidden, weight, targets).sum()


def likelihood(hidden: Tensor, weight: Tensor, targets: Tensor, fused: bool = True) -> Tensor:
    """The same as the learner's output layer has it, in a process group of one."""

    def summed(_tokens: slice, logprobs: Tensor, _entropy: Tensor) -> tuple[Tensor, Tensor]:
        total = logprobs.sum()
        return total, torch.zeros(len(STATISTICS), device=total.device)

    rows = torch.arange(len(targets), device=hidden.device)
    total, _ = output_loss(output_layer(weight, fused), hidden, rows, targets, summed)
    return total


def output_layer(weight: Tensor, fused: bool = True) -> OutputLayer:
    """The layer of a process alone."""
    assert dist.group.WORLD is not None
    return OutputLayer(weight, weight.size(0), dist.group.WORLD, fused=fused)


WAYS: dict[str, Likelihood] = {"plain": plain_likelihood, "ours": likelihood}


def run(way: str, tokens: int) -> LogProbMemory:
    """Measure one way in this process, which must have done nothing else yet."""
    start_process_groups(ParallelLayout(), 0)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, HIDDEN, generator=generator, requires_grad=True)
    weight = (torch.randn(VOCABULARY, HIDDEN, generator=generator) * 0.05).requires_grad_()
    targets = torch.randint(VOCABULARY, (tokens,), generator=generator)
    WAYS[way](hidden[:2], weight[:8], targets[:2] % 8).backward()  # type: ignore[no-untyped-call]
    hidden.grad = weight.grad = None
    with Peak() as peak:
        start = time.process_time()
        total = WAYS[way](hidden, weight, targets)
        total.backward()  # type: ignore[no-untyped-call]
        seconds = time.process_time() - start
    assert hidden.grad is not None
    norm = float(hidden.grad.norm())
    return LogProbMemory(tokens, VOCABULARY, peak.nbytes, seconds, float(total), norm)
