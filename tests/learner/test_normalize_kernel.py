"""The output layer's kernel in Triton against the definition: compiled on a GPU, elsewhere in Triton's interpreter."""

from __future__ import annotations

import importlib.util
import math
import os
from typing import Any

import pytest
import torch
from torch import Tensor

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or (DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1"),
    reason="needs Triton, and on CPUs its interpreter from the first import on: make test-newest",
)


@pytest.fixture(scope="module")
def kernel() -> Any:
    from rzero_mega.learner import normalize_kernel

    return normalize_kernel


def drawn(seed: int, rows: int, columns: int, dtype: torch.dtype, scale: float = 8.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(rows, columns, generator=generator)).to(dtype)
    return logits.to(DEVICE), torch.randint(columns, (rows,), generator=generator).to(DEVICE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("rows", "columns", "block"), [(3, 1, 16), (1, 16, 16), (5, 17, 16), (4, 61, 16), (7, 333, 64), (2, 5000, 4096)]
)
def test_it_is_log_softmax_of_any_width_in_fp32(
    kernel: Any, rows: int, columns: int, block: int, dtype: torch.dtype
) -> None:
    logits, targets = drawn(rows * columns, rows, columns, dtype)
    expected = logits.double().log_softmax(1)
    before = logits.clone()
    given, total = kernel.normalize(logits, targets, probabilities=False, block=block)
    assert torch.equal(logits, before) and given.dtype == total.dtype == torch.float32
    torch.testing.assert_close(given.double(), expected.gather(1, targets[:, None])[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(total.double(), before.double().logsumexp(1), rtol=1e-6, atol=1e-5)
    again, _ = kernel.normalize(logits, targets, probabilities=True, block=block)
    assert torch.equal(again, given)
    # GPUs round to bf16, and the interpreter cuts off.
    rounding = {torch.bfloat16: 2**-7, torch.float32: 1e-5}[dtype]
    torch.testing.assert_close(logits.double(), expected.exp(), rtol=rounding, atol=1e-7)


def test_a_row_of_a_larger_buffer_leaves_what_lies_behind_it(kernel: Any) -> None:
    buffer, targets = drawn(1, 4, 50, torch.bfloat16)
    before = buffer.clone()
    part = buffer[:, :37]
    kernel.normalize(part, targets % 37, probabilities=True, block=16)
    assert torch.equal(buffer[:, 37:], before[:, 37:])
    torch.testing.assert_close(part.double(), before[:, :37].double().softmax(1), rtol=2**-7, atol=1e-7)


def test_large_logits_do_not_overflow_and_what_is_not_finite_shows(kernel: Any) -> None:
    logits = torch.tensor([[3e4, -3e4, 3e4, 0.0], [math.nan, 0.0, 0.0, 0.0], [math.inf, 0.0, 0.0, 0.0]], device=DEVICE)
    given, total = kernel.normalize(
        logits, torch.zeros(3, dtype=torch.int64, device=DEVICE), probabilities=True, block=16
    )
    assert given[0].item() == pytest.approx(-math.log(2)) and total[0].item() == pytest.approx(3e4 + math.log(2))
    assert logits[0].tolist() == pytest.approx([0.5, 0.0, 0.5, 0.0])
    assert not given[1:].isfinite().any() and logits[1:].isnan().any(1).all()


def test_no_row_is_no_work(kernel: Any) -> None:
    given, total = kernel.normalize(
        torch.empty(0, 9, device=DEVICE), torch.empty(0, dtype=torch.int64), probabilities=True
    )
    assert len(given) == len(total) == 0
