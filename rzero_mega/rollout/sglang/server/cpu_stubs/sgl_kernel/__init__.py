"""In place of sglang-kernel, whose wheels are built for CUDA.

SGLang imports some of its kernels when it starts. On a CPU without AMX it calls none of them: PyTorch's own operations
stand behind every layer, so a call is an error that names the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

__version__ = "0.4.10"


def __getattr__(name: str) -> Callable[..., Any]:
    """Every kernel exists, and fails when it is called."""
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(f"sgl_kernel.{name} needs a GPU: this is a stand-in for CPU servers")

    return missing
