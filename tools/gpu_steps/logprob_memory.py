"""Peak memory of the learner's output layer, in chunks, against logits, log-softmax and gather."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rzero_mega.learner.megatron.process_groups import device
from rzero_mega.learner.output_layer import response_logprobs
from tools.gpu_steps.models import alone, free_memory
from tools.learner_benchmarks.logprob_memory import likelihood, output_layer, plain, plain_likelihood
from tools.torch_memory import peak_allocated

# Tokens whose log-probabilities are compared.
COMPARED = 1024


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
    chunked, peak = _measure(lambda h, w: likelihood(h, w, targets), hidden, weight)
    free_memory()
    try:
        whole, plain_peak = _measure(lambda h, w: plain_likelihood(h, w, targets), hidden, weight)
    except torch.OutOfMemoryError:
        return Peaks(peak, None, None, None, None)
    some = torch.arange(min(COMPARED, settings.tokens), device=where)
    with torch.no_grad():
        ours, theirs = (
            response_logprobs(output_layer(weight), hidden, some, targets[some]),
            plain(hidden[some], weight, targets[some]),
        )
    difference = float((ours - theirs).abs().max())
    gradient = float((chunked - whole).norm() / whole.norm())
    return Peaks(peak, plain_peak, peak / plain_peak, difference, gradient)


def _measure(loss: Callable[[Tensor, Tensor], Tensor], hidden: Tensor, weight: Tensor) -> tuple[Tensor, int]:
    """The gradient of the hidden states, in host memory, and the peak."""
    h, w = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
    peak = peak_allocated(lambda: loss(h, w).backward())  # type: ignore[no-untyped-call]
    assert h.grad is not None
    return h.grad.float().cpu(), peak
