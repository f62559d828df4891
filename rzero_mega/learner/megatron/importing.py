"""What importing Megatron-core needs on a machine without CUDA, where PyTorch may come without Triton."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

# From Megatron-core 0.18 on the schedules import this stash of experts' tokens, and with it Triton. Nothing of it is
# called unless `moe_paged_stash` is set, which is never done here; everywhere else Megatron takes Triton for optional.
STASH = "megatron.core.transformer.moe.paged_stash"


class _Nothing(ModuleType):
    """A module in which every name is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def prepare() -> None:
    """Put aside what Megatron's modules take from Triton and torch.compile. Call before importing any of them."""
    if importlib.util.find_spec("triton") is None:
        sys.modules.setdefault(STASH, _Nothing(STASH))
    if not torch.cuda.is_available():
        # Megatron decorates small functions with torch.compile as it is imported: its CPU back end needs a C++ compiler
        # at run time, and seconds of every process's start to be imported.
        compiler: Any = torch
        compiler.compile = lambda model=None, **_: _as_it_is if model is None else model


def _as_it_is(function: Callable[P, R]) -> Callable[P, R]:
    return function
