"""A chunk's logits normalised by one kernel in Triton: read twice and written once, where PyTorch's take 20 bytes each.

Triton comes with PyTorch for GPUs; elsewhere this module can't be imported.
"""

from __future__ import annotations

from typing import Any

import torch
import triton  # type: ignore[import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, unused-ignore]
from torch import Tensor

# Columns that a row's program looks at together.
BLOCK = 4096


def normalize(logits: Tensor, targets: Tensor, *, probabilities: bool, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """(log-probability of the target, log sum exp) of each row of logits [n, c], both [n] in fp32.

    If they are asked for, probabilities take the place of the logits. Targets are int64.
    """
    n, columns = logits.shape
    given = torch.empty(n, dtype=torch.float32, device=logits.device)
    total = torch.empty_like(given)
    if n:
        arguments = (logits, targets, given, total, logits.stride(0))
        _normalize_row[(n,)](*arguments, COLUMNS=columns, WRITES=probabilities, BLOCK=block, num_warps=8)
    return given, total


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _normalize_row(
    logits: Any,
    targets: Any,
    given: Any,
    total: Any,
    stride: Any,
    COLUMNS: tl.constexpr,
    WRITES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """A row by a program, in fp32: the sum of exponentials goes along with the largest logit so far."""
    # A chunk has more numbers than 32 bits count.
    row = tl.program_id(0).to(tl.int64)
    start = logits + row * stride
    offsets = tl.arange(0, BLOCK)
    largest = float("-inf")
    mass = 0.0
    for first in range(0, COLUMNS, BLOCK):
        here = first + offsets
        x = tl.load(start + here, mask=here < COLUMNS, other=float("-inf")).to(tl.float32)
        top = tl.maximum(largest, tl.max(x, axis=0))
        # A padding's exponential is 0; a NaN stays one.
        mass = mass * tl.exp(largest - top) + tl.sum(tl.exp(x - top), axis=0)
        largest = top
    log_mass = tl.log(mass)
    # Before probabilities are in its place. Less the largest first: large logits leave no room for what comes after.
    target = tl.load(start + tl.load(targets + row)).to(tl.float32)
    tl.store(given + row, (target - largest) - log_mass)
    tl.store(total + row, largest + log_mass)
    if WRITES:
        # Some threads would overwrite the target's logit before others have read it.
        tl.debug_barrier()
        for first in range(0, COLUMNS, BLOCK):
            here = first + offsets
            x = tl.load(start + here, mask=here < COLUMNS, other=float("-inf")).to(tl.float32)
            tl.store(start + here, tl.exp((x - largest) - log_mass).to(logits.dtype.element_ty), mask=here < COLUMNS)
