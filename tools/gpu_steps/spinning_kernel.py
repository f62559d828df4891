"""The kernel that spins: what needs Triton, which comes with torch for GPUs alone."""

from __future__ import annotations

from typing import Any

import triton  # type: ignore[import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, unused-ignore]
from torch import Tensor


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _wait(flag: Any) -> None:
    while tl.load(flag, volatile=True) == 0:
        pass


def wait_for_flag(flag: Tensor, blocks: int) -> None:
    """Start so many blocks of 512 threads on the current stream that end once `flag` is not 0."""
    _wait[(blocks,)](flag, num_warps=16)
