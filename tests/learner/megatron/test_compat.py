"""Megatron-core on a machine without CUDA."""

from __future__ import annotations

import pytest
import torch

from rzero_mega.learner.megatron import compat


@pytest.mark.skipif(torch.cuda.is_available(), reason="functions are compiled where there is a GPU")
def test_what_megatron_would_compile_stays_as_it_is() -> None:
    compat.install()

    def function() -> None: ...

    assert torch.compile(function) is function
    assert torch.compile(dynamic=True)(function) is function
