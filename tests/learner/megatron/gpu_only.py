"""What marks tests that need a GPU."""

from __future__ import annotations

import pytest
import torch

GPU_ONLY = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA and Transformer Engine"),
]
