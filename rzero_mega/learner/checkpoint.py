"""Checkpoints of weights, optimizer moments and random generators in Megatron's distributed format."""

from __future__ import annotations

from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing, parallel_state, tensor_parallel
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    TorchDistSaveShardedStrategy,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)
from megatron.core.dist_checkpointing.validation import StrictHandling
from megatron.core.optimizer import MegatronOptimizer
from torch.distributed.checkpoint import state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from rzero_mega.errors import UserError
from rzero_mega.learner.checkpoint_files import check_files
from rzero_mega.learner.compat import calls_megatron
from rzero_mega.learner.model import Model
from rzero_mega.learner.policy_model import bare
from rzero_mega.weights.shape import ModelShape

# Moments in the layout of the model's parameters: reloadable under another number of data-parallel ranks.
MOMENTS = "fully_reshardable"
# Transformer Engine keeps its FP8 scaling history in a pickle under this name, and unpickles whatever it finds there.
# It stays out of checkpoints: a resumed FP8 run gathers its history anew. Without FP8 it is empty.
EXTRA_STATE = "_extra_state"


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
    state["step"], state["shape"] = step, asdict(model.shape)
    strategy = _InProcessSave("torch_dist", 1)
    try:
        dist_checkpointing.save(state, str(folder), sharded_strategy=strategy, validate_access_integrity=False)
    except CheckpointException as error:
        # torch gathers the ranks' failures in a BaseException, which no handler of ordinary errors would see.
        raise RuntimeError(f"writing a checkpoint failed: {_reason(error)}") from error


@calls_megatron
def load_model_only(folder: Path, model: Model) -> None:
    """Restore the weights of any checkpoint, with or without an optimizer's state; every rank takes part.

    UserError as `load`.
    """
    _check_shape(folder, check_files(folder), model)
    state = {"model": _sharded_weights(model, {})}
    try:
        loaded = dist_checkpointing.load(state, str(folder), strict=StrictHandling.RAISE_UNEXPECTED)
    except (CheckpointException, CheckpointingException) as error:
        raise UserError(f"{folder}: {_reason(error)}") from error
    _load_weights(model, loaded["model"])


@calls_megatron
def load(folder: Path, model: Model, optimizer: MegatronOptimizer) -> int:
    """Restore a checkpoint into a model and a fresh optimizer; returns its step.

    UserError names a file that is missing, damaged or holds anything but plain data, and in what the models differ if
    the checkpoint is of another one.
    """
    _check_shape(folder, check_files(folder), model)
    state = _sharded_state(model, optimizer, loading=True)
    try:
        loaded = dist_checkpointing.load(state, str(folder), strict=StrictHandling.RAISE_ALL)
    except (CheckpointException, CheckpointingException) as error:
        raise UserError(f"{folder}: {_reason(error)}") from error
    _load_weights(model, loaded["model"])
    with torch.no_grad():
        optimizer.load_state_dict(loaded["optimizer"])
    torch.set_rng_state(loaded["torch_rng"])
    if torch.cuda.is_available():
        tensor_parallel.get_cuda_rng_tracker().set_states(loaded["cuda_rng"])
    return int(loaded["step"])


def _check_shape(folder: Path, common: dict[str, Any], model: Model) -> None:
    # Megatron cuts or fills up a vocabulary of another size without a word.
    saved = common.get("shape")
    if not isinstance(saved, dict):
        raise UserError(f"{folder / 'common.pt'}: does not say which model it is of")
    differences = shape_differences(saved, model.shape)
    if differences:
        raise UserError(f"{folder}: checkpoint of another model: {'; '.join(differences)}")


def shape_differences(saved: dict[str, Any], shape: ModelShape) -> list[str]:
    """In what the shape that a checkpoint was saved with differs from `shape`, one by one.

    What a checkpoint does not say has its default: it was written when all models had that.
    """
    there = {field.name: field.default for field in fields(shape) if field.default is not MISSING} | saved
    return [
        f"{key} is {there.get(key)!r} there, {here!r} here"
        for key, here in asdict(shape).items()
        if there.get(key) != here
    ]


def _reason(error: BaseException) -> str:
    """One line of what Megatron says, or of the first rank's failure that torch gathered."""
    if isinstance(error, CheckpointException):
        rank, (error, _) = next(iter(error.failures.items()))
        return f"rank {rank}: {_reason(error)}"
    return " ".join(str(error).split())[:400]


def _load_weights(model: Model, weights: dict[str, Any]) -> None:
    for number, chunk in enumerate(model.chunks):
        result = bare(chunk).load_state_dict(weights[_chunk_name(number)], strict=False)
        wrong = [key for key in (*result.missing_keys, *result.unexpected_keys) if not key.endswith(EXTRA_STATE)]
        if wrong:
            raise RuntimeError(f"weights missing from or unknown to the model: {wrong}")


def _sharded_state(model: Model, optimizer: MegatronOptimizer, loading: bool) -> dict[str, Any]:
    metadata = {
        "distrib_optim_sharding_type": MOMENTS,
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
    }
    state: dict[str, Any] = {"model": _sharded_weights(model, metadata)}
    state["optimizer"] = optimizer.sharded_state_dict(state, is_loading=loading, metadata=metadata)
    state["torch_rng"] = None if loading else torch.get_rng_state()
    if torch.cuda.is_available():
        state["cuda_rng"] = None if loading else tensor_parallel.get_cuda_rng_tracker().get_states()
    return state


def _sharded_weights(model: Model, metadata: dict[str, Any]) -> dict[str, Any]:
    return {_chunk_name(number): _sharded_chunk(chunk, metadata) for number, chunk in enumerate(model.chunks)}


def _sharded_chunk(chunk: torch.nn.Module, metadata: dict[str, Any]) -> dict[str, Any]:
    weights = bare(chunk).sharded_state_dict(metadata=metadata)
    return {key: w for key, w in weights.items() if not key.endswith(EXTRA_STATE)}


def _chunk_name(number: int) -> str:
    return f"chunk{number}"
