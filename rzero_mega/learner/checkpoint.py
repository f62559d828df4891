"""Checkpoints of weights, optimizer moments and random generators in Megatron's distributed format.

Two files of that format are pickles. They are read only after every global name in them was found on a list of plain
data classes, so that a checkpoint cannot run code.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing, parallel_state, tensor_parallel
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    TorchDistSaveShardedStrategy,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)
from megatron.core.dist_checkpointing.validation import StrictHandling
from megatron.core.optimizer import MegatronOptimizer
from torch.distributed.checkpoint import state_dict_saver
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from rzero_mega.errors import UserError
from rzero_mega.learner.compat import calls_megatron
from rzero_mega.learner.model import Model

# Moments in the layout of the model's parameters: reloadable under another number of data-parallel ranks.
MOMENTS = "fully_reshardable"
PLAIN_MODULES = ("torch.distributed.checkpoint.metadata",)
PLAIN_NAMES = {
    ("builtins", "dict"),
    ("builtins", "list"),
    ("builtins", "set"),
    ("builtins", "tuple"),
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("megatron.core.dist_checkpointing.strategies.torch", "MCoreMetadata"),
}


class _InProcessSave(TorchDistSaveShardedStrategy):
    """Megatron's format, written by torch's own writer in this process.

    Megatron's writer starts a manager and writer processes for every save, which costs seconds on a small model.
    """

    def save(self, sharded_state_dict: Any, checkpoint_dir: Path) -> None:
        """Write this rank's shards; rank 0 writes the metadata."""
        state, _, _ = _replace_state_dict_keys_with_sharded_keys(sharded_state_dict, self.keep_only_main_replica)
        state_dict_saver.save(
            mcore_to_pyt_state_dict(state, False),
            storage_writer=FileSystemWriter(checkpoint_dir),
            planner=MCoreSavePlanner(dedup_replicated_tensors=False, flatten_state_dict=False),
        )


@calls_megatron
def save(folder: Path, model: Model, optimizer: MegatronOptimizer, step: int) -> None:
    """Write a checkpoint into the empty `folder`; every rank takes part."""
    state = _sharded_state(model, optimizer, loading=False)
    state["step"] = step
    dist_checkpointing.save(
        state, str(folder), sharded_strategy=_InProcessSave("torch_dist", 1), validate_access_integrity=False
    )


@calls_megatron
def load(folder: Path, model: Model, optimizer: MegatronOptimizer) -> int:
    """Restore a checkpoint into a model and a fresh optimizer; returns its step.

    UserError names a file that is missing or holds anything but plain data.
    """
    refuse_code(folder)
    state = _sharded_state(model, optimizer, loading=True)
    state["step"] = None
    loaded = dist_checkpointing.load(state, str(folder), strict=StrictHandling.RAISE_ALL)
    _bare(model).load_state_dict(loaded["model"])
    with torch.no_grad():
        optimizer.load_state_dict(loaded["optimizer"])
    torch.set_rng_state(loaded["torch_rng"])
    if torch.cuda.is_available():
        tensor_parallel.get_cuda_rng_tracker().set_states(loaded["cuda_rng"])
    return int(loaded["step"])


def refuse_code(folder: Path) -> None:
    """UserError if a pickle of the checkpoint mentions anything that is not plain data."""
    metadata = folder / ".metadata"
    if not metadata.is_file():
        raise UserError(f"{metadata}: missing; {folder} is not a complete checkpoint")
    _scan(metadata.read_bytes(), metadata)
    common = folder / "common.pt"
    if common.is_file() and not zipfile.is_zipfile(common):
        raise UserError(f"{common}: not in torch's archive format")


class _PlainUnpickler(pickle.Unpickler):
    """Reads a pickle only as far as every class in it is plain data (Python's documented way to restrict globals)."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in PLAIN_NAMES or module in PLAIN_MODULES or _is_dtype(module, name):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"mentions {module}.{name}, which is not plain data; refused")


def _scan(data: bytes, path: Path) -> None:
    try:
        _PlainUnpickler(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise UserError(f"{path}: {error}") from None


def _is_dtype(module: str, name: str) -> bool:
    return module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)


def _sharded_state(model: Model, optimizer: MegatronOptimizer, loading: bool) -> dict[str, Any]:
    metadata = {
        "distrib_optim_sharding_type": MOMENTS,
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
    }
    state: dict[str, Any] = {"model": _bare(model).sharded_state_dict(metadata=metadata)}
    state["optimizer"] = optimizer.sharded_state_dict(state, is_loading=loading, metadata=metadata)
    state["torch_rng"] = None if loading else torch.get_rng_state()
    if torch.cuda.is_available():
        state["cuda_rng"] = None if loading else tensor_parallel.get_cuda_rng_tracker().get_states()
    return state


def _bare(model: Model) -> Any:
    module: Any = model.module
    while hasattr(module, "module"):
        module = module.module
    return module
