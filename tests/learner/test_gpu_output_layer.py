"""The output layer on a GPU with its kernel against the same without."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rzero_mega.config.layout import ParallelLayout
from tests.learner.megatron.gpu_only import GPU_ONLY
from tools.learner_benchmarks.logprob_memory import likelihood

pytestmark = GPU_ONLY


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
def test_the_kernel_changes_neither_loss_nor_gradients(
    alone: ParallelLayout, dtype: torch.dtype, tolerance: float
) -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    hidden = torch.randn(300, 256, device="cuda", generator=generator).to(dtype)
    weight = (torch.randn(50_001, 256, device="cuda", generator=generator) / 16).to(dtype)
    targets = torch.randint(50_001, (300,), device="cuda", generator=generator)

    def once(fused: bool) -> list[Tensor]:
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        loss = likelihood(h, w, targets, fused)
        loss.backward()  # type: ignore[no-untyped-call]
        assert h.grad is not None and w.grad is not None
        return [loss.detach(), h.grad, w.grad]

    for found, expected in zip(once(True), once(False), strict=True):
        assert float((found - expected).norm() / expected.norm()) < tolerance
