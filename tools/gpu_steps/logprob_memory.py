"""Peak memory of the learner's chunked log-probabilities against logits, log-softmax and gather."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from rzero_mega.learner.logprobs import hidden_logprobs
from rzero_mega.learner.megatron.process_groups import device
from tools.gpu_steps.models import alone, free_memory
from tools.learner_benchmarks.logprob_memory import plain as plain_logprobs
from tools.torch_memory import peak_allocated


@dataclass(frozen=True)
class Settings:
    """Tokens t, vocabulary v and hidden size h, and the weights' type."""

    tokens: int = 16384
    vocab: int = 151936
    hidden: int = 4096
    dtype: torch.dtype = torch.bfloat16


@dataclass(frozen=True)
class Peaks:
    """The most bytes beyond hidden states and weights, forward and backward; and how far the two ways are apart.

    `plain_bytes` is None where the plain way does not fit into the GPU's memory. `gradient_difference` is relative.
    """

    chunked_bytes: int
    plain_bytes: int | None
    ratio: float | None
    logprob_difference: float | None
    gradient_difference: float | None


def run(settings: Settings) -> Peaks:
    """Measure both ways on the same numbers."""
    alone()
    where = device()
    generator = torch.Generator(where).manual_seed(0)
    hidden = torch.randn(settings.tokens, settings.hidden, device=where, generator=generator).to(settings.dtype)
    weight = torch.randn(settings.vocab, settings.hidden, device=where, generator=generator)
    weight = weight.mul_(settings.hidden**-0.5).to(settings.dtype)
    targets = torch.randint(settings.vocab, (settings.tokens,), device=where, generator=generator)
    group = dist.group.WORLD
    assert group is not None
    chunked, peak = _measure(lambda h, w: hidden_logprobs(h, w, targets, settings.vocab, group)[0], hidden, weight)
    free_memory()
    try:
        plain, plain_peak = _measure(lambda h, w: plain_logprobs(h, w, targets), hidden, weight)
    except torch.OutOfMemoryError:
        return Peaks(peak, None, None, None, None)
    difference = float((chunked[0] - plain[0]).abs().max())
    gradient = float((chunked[1] - plain[1]).norm() / plain[1].norm())
    return Peaks(peak, plain_peak, peak / plain_peak, difference, gradient)


def _measure(
    logprobs: Callable[[Tensor, Tensor], Tensor], hidden: Tensor, weight: Tensor
) -> tuple[tuple[Tensor, Tensor], int]:
    """(log-probabilities, gradient of the hidden states) in host memory, and the peak."""
    h, w = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
    found: list[Tensor] = []

    def work() -> None:
        out = logprobs(h, w)
        out.sum().backward()
        found.append(out.detach())

    peak = peak_allocated(work)
    assert h.grad is not None
    return (found[0].cpu(), h.grad.float().cpu()), peak
