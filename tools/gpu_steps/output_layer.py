"""Time of the learner's output layer as an 8B model and as one rank of four has it: in chunks, in one, and plain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor

from rzero_mega.learner import output_layer as layer_of_learner
from rzero_mega.learner.megatron.process_groups import device
from rzero_mega.learner.output_layer import response_logprobs
from tools.gpu_steps.models import alone, free_memory, synchronize
from tools.learner_benchmarks.logprob_memory import likelihood, output_layer, plain_likelihood


@dataclass(frozen=True)
class Settings:
    """Response tokens t, hidden size h, columns v of the vocabulary, and how often each way is timed."""

    tokens: int = 8192
    hidden: int = 4096
    columns: tuple[int, ...] = (151936, 37984)
    dtype: torch.dtype = torch.bfloat16
    warmup: int = 2
    passes: int = 8


@dataclass(frozen=True)
class Way:
    """Median seconds of a pass, its matrix products of 2 t h v FLOPs each, and what they come to per second."""

    seconds: float | None
    products: int
    tflops_per_second: float | None
    error: str | None = None


def run(settings: Settings) -> dict[str, dict[str, Way]]:
    """By columns: logits once with loss and gradients in chunks, without the kernel, in one chunk; scoring; plain."""
    alone()
    return {f"v{columns}": _at(settings, columns) for columns in settings.columns}


def _at(settings: Settings, columns: int) -> dict[str, Way]:
    where = device()
    generator = torch.Generator(where).manual_seed(0)
    hidden = torch.randn(settings.tokens, settings.hidden, device=where, generator=generator).to(settings.dtype)
    weight = torch.randn(columns, settings.hidden, device=where, generator=generator)
    weight = weight.mul_(settings.hidden**-0.5).to(settings.dtype)
    targets = torch.randint(columns, (settings.tokens,), device=where, generator=generator)
    rows = torch.arange(settings.tokens, device=where)

    def learns(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[], None]:
        def once() -> None:
            h, w = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
            loss(h, w, targets).backward()  # type: ignore[no-untyped-call]

        return once

    def scores() -> None:
        with torch.no_grad():
            response_logprobs(output_layer(weight), hidden, rows, targets)

    found = {"chunks": _timed(settings, columns, 3, learns(likelihood))}
    found["unfused"] = _timed(settings, columns, 3, learns(partial(likelihood, fused=False)))
    with one_chunk():
        found["one_chunk"] = _timed(settings, columns, 3, learns(likelihood))
    found["scoring"] = _timed(settings, columns, 1, scores)
    # Logits, log-softmax and gather by autograd: three products as well, and every logit kept in fp32.
    found["plain"] = _timed(settings, columns, 3, learns(plain_likelihood))
    return found


@contextmanager
def one_chunk() -> Iterator[None]:
    """Inside, all tokens of a micro-batch are one chunk, whatever that takes."""
    before = layer_of_learner.CHUNK_BYTES
    layer_of_learner.CHUNK_BYTES = 1 << 50
    try:
        yield
    finally:
        layer_of_learner.CHUNK_BYTES = before


def _timed(settings: Settings, columns: int, products: int, once: Callable[[], None]) -> Way:
    free_memory()
    seconds = []
    try:
        for _ in range(settings.warmup + settings.passes):
            synchronize()
            start = time.perf_counter()
            once()
            synchronize()
            seconds.append(time.perf_counter() - start)
    except torch.OutOfMemoryError as error:
        return Way(None, products, None, str(error).splitlines()[0])
    middle = median(seconds[settings.warmup :])
    flops = products * 2.0 * settings.tokens * settings.hidden * columns
    return Way(middle, products, flops / middle / 1e12)
