"""Importing Megatron-core without Triton, which PyTorch for CPUs comes without."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

# From Megatron-core 0.18 on the schedules import this stash of experts' tokens, and with it Triton. Nothing of it is
# called unless `moe_paged_stash` is set, which is never done here; everywhere else Megatron takes Triton for optional.
STASH = "megatron.core.transformer.moe.paged_stash"


class _Nothing(ModuleType):
    """A module in which every name is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def install() -> None:
    """Where Triton is missing, put the module that needs it aside. Call before importing anything of Megatron's."""
    if importlib.util.find_spec("triton") is None:
        sys.modules.setdefault(STASH, _Nothing(STASH))
