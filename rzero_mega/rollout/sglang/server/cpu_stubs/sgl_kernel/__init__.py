"""In place of sglang-kernel, whose wheels are built for CUDA.

SGLang imports some of its kernels when it starts. On a CPU without AMX it calls none of them: PyTorch's own operations
stand behind every layer, so a call is an error that names the kernel.

Every process of a server imports it, so it is also where page-locked memory, which SGLang's adapters ask for on every
device and PyTorch has with an accelerator only, is made to be ordinary memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch

__version__ = "0.4.10"


def __getattr__(name: str) -> Callable[..., Any]:
    """Every kernel exists, and fails when it is called."""
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(f"sgl_kernel.{name} needs a GPU: this is a stand-in for CPU servers")

    return missing


def _pageable(create: Callable[..., Any]) -> Callable[..., Any]:
    def created(*arguments: Any, pin_memory: bool = False, **options: Any) -> Any:
        return create(*arguments, **options)

    return created


def _pin_nothing() -> None:
    made: Any = torch
    for name in ("tensor", "zeros"):
        setattr(made, name, _pageable(getattr(made, name)))
    made.Tensor.pin_memory = lambda self, *_: self


_pin_nothing()
