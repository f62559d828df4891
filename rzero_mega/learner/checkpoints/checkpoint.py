"""Checkpoints of weights, optimizer moments and random generators in Megatron's distributed format.

The state of the generators is rank 0's, and every rank gets it back: no rank draws from them in training. Dropout is 0,
and rollouts and prompts are drawn from streams named by (seed, iteration, phase, step, item). So the step is the
position in the data, under every layout. Where adapters train, their weights and moments are all that is in it.
"""

from __future__ import annotations

from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing, parallel_state, tensor_parallel
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.dist_checkpointing.validation import StrictHandling
from megatron.core.fp8_utils import is_float8tensor
from megatron.core.optimizer import MegatronOptimizer
from torch.distributed.checkpoint.api import CheckpointException

from rzero_mega import spmd
from rzero_mega.errors import UserError
from rzero_mega.learner.checkpoints.adapters import check_adapters, said_of_adapters, sharded_adapters
from rzero_mega.learner.checkpoints.async_save import PendingSave
from rzero_mega.learner.checkpoints.positions import positions_without_padding
from rzero_mega.learner.checkpoints.safe_files import check_files, tensor_names
from rzero_mega.learner.checkpoints.shares import FORMAT, optimizer_shares
from rzero_mega.learner.megatron.compat import calls_megatron
from rzero_mega.learner.megatron.model import Model
from rzero_mega.learner.megatron.optimizer import chained
from rzero_mega.learner.megatron.policy_model import bare
from rzero_mega.run.checksums import Checksums, has_checksums
from rzero_mega.weights.shape import ModelShape

# Transformer Engine keeps its FP8 scaling history in a pickle under this name, and unpickles whatever it finds there.
# It stays out of checkpoints: a resumed FP8 run gathers its history anew. Without FP8 it is empty.
EXTRA_STATE = "_extra_state"


@calls_megatron
def start_save(folder: Path, model: Model, optimizer: MegatronOptimizer, step: int, base: str = "") -> PendingSave:
    """Begin a checkpoint in the empty `folder`; every rank takes part, and calls `finish` on what it gets.

    The next step may begin at once. Every rank holds in host memory what it has yet to write. `base` names the weights
    that adapters belong to, which stay out of it.
    """
    state = _sharded_state(model, optimizer, loading=False) | said_of_adapters(model, base)
    state["step"], state["shape"] = step, asdict(model.shape)
    return PendingSave(folder, state)


def save(folder: Path, model: Model, optimizer: MegatronOptimizer, step: int) -> None:
    """Write a checkpoint into the empty `folder`; every rank takes part."""
    start_save(folder, model, optimizer, step).finish()


@calls_megatron
def load_model_only(folder: Path, model: Model) -> None:
    """Restore the weights of any checkpoint, with or without an optimizer's state; every rank takes part.

    UserError as `load`.
    """
    if has_checksums(folder):
        _check_checksums(folder)
    common = check_files(folder)
    _check_shape(folder, common, model)
    check_adapters(folder, common, model, "")
    state = {"model": _sharded_weights(model, {})}
    try:
        loaded = dist_checkpointing.load(state, str(folder), strict=StrictHandling.RAISE_UNEXPECTED)
    except (CheckpointException, CheckpointingException) as error:
        raise UserError(f"{folder}: {_reason(error)}") from error
    _load_weights(model, loaded["model"])


@calls_megatron
def load(folder: Path, model: Model, optimizer: MegatronOptimizer, base: str = "") -> int:
    """Restore a checkpoint into a model and a fresh optimizer; returns its step.

    UserError names a file that is missing, damaged or holds anything but plain data, and in what the models differ if
    the checkpoint is of another one. Each rank reads some of the files against their checksums, before any is loaded.
    """
    step = _check_checksums(folder)
    common = check_files(folder)
    _check_shape(folder, common, model)
    check_adapters(folder, common, model, base)
    _check_training_state(folder, common)
    updates = _updates(folder, common)
    state = _sharded_state(model, optimizer, loading=True)
    ours = state["optimizer"]
    try:
        loaded = dist_checkpointing.load(state, str(folder), strict=StrictHandling.RAISE_ALL)
    except (CheckpointException, CheckpointingException) as error:
        raise UserError(f"{folder}: {_reason(error)}") from error
    _load_weights(model, loaded["model"])
    spmd.on_all_ranks(_check_main_weights, folder, optimizer, loaded["optimizer"])
    with torch.no_grad():
        optimizer.load_state_dict(_optimizer_state(ours, loaded["optimizer"], updates))
    torch.set_rng_state(loaded["torch_rng"])
    if torch.cuda.is_available() and "cuda_rng" in common:  # not in a checkpoint that was written without a GPU
        tensor_parallel.get_cuda_rng_tracker().set_states(loaded["cuda_rng"])
    if loaded["step"] != step:
        raise UserError(f"{folder}: is of step {loaded['step']}, and its checksums are of step {step}")
    return step


def _check_checksums(folder: Path) -> int:
    """The step that the checkpoint's checksums name. For all ranks; UserError as `Checksums`."""
    checksums = spmd.on_rank_0(Checksums.read, folder)
    spmd.on_all_ranks(checksums.check, folder, spmd.share(sorted(checksums.files)))
    return checksums.step


def _check_shape(folder: Path, common: dict[str, Any], model: Model) -> None:
    # Megatron silently cuts or fills up a vocabulary of another size.
    saved = common.get("shape")
    if not isinstance(saved, dict):
        raise UserError(f"{folder / 'common.pt'}: does not say which model it is of")
    differences = shape_differences(saved, model.shape)
    if differences:
        raise UserError(f"{folder}: checkpoint of another model: {'; '.join(differences)}")


def _check_training_state(folder: Path, common: dict[str, Any]) -> None:
    moments = any(key.startswith("optimizer.") for key in tensor_names(folder))
    if not moments or not isinstance(common.get("optimizer"), dict):
        raise UserError(
            f"{folder}: holds weights but no optimizer moments, so training cannot go on from it; "
            "make it a Hugging Face folder with `rzero-mega convert` and start from that"
        )
    missing = [key for key in ("step", "torch_rng") if key not in common]
    if missing:
        raise UserError(f"{folder / 'common.pt'}: {missing[0]} is missing; {folder} is not a checkpoint of training")


def _check_main_weights(folder: Path, optimizer: MegatronOptimizer, loaded: dict[Any, Any]) -> None:
    """UserError if the loaded main weights, rounded to the model's type, are not the weights that the model has."""
    parts = chained(optimizer)
    # What is common to all ranks comes as the chain that was saved, the moments as this one.
    states = [loaded] if "param_state" in loaded else [loaded[index] for index in range(len(parts))]
    for part, state in zip(parts, states, strict=True):
        parameters = [parameter for buffer in part.buffers for parameter in buffer.param_index_map]
        for index, parameter in enumerate(parameters):
            main = state["param_state"][index]["param"]
            if not is_float8tensor(parameter) and not torch.equal(main.to(parameter), parameter.data):
                raise UserError(
                    f"{folder}: the optimizer's main weights are not the model's, so training cannot go on from it; "
                    "remove it, and the phase goes on from an earlier checkpoint or begins again"
                )


def _updates(folder: Path, common: dict[str, Any]) -> int:
    """How many optimizer updates the moments have seen."""
    try:
        groups = [group for part in _parts(common["optimizer"]) for group in part["optimizer"]["param_groups"]]
        (updates,) = {int(group["step"]) for group in groups if "step" in group}  # a group without parameters has none
        return updates
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{folder / 'common.pt'}: does not say how many updates the optimizer has done") from None


def _parts(state: dict[Any, Any]) -> list[dict[str, Any]]:
    """The states of `chained` optimizers."""
    return [state] if "optimizer" in state else [state[index] for index in sorted(state)]


def _optimizer_state(ours: dict[Any, Any], loaded: dict[Any, Any], updates: int) -> dict[Any, Any]:
    """Loaded moments in this layout's chain of optimizers, whatever chain they were saved from.

    The settings of the parameter groups are those of the configuration.
    """

    def restored(part: dict[str, Any], moments: dict[str, Any]) -> dict[str, Any]:
        groups = [{**group, "step": updates} for group in part["optimizer"]["param_groups"]]
        return {**part, "optimizer": {**part["optimizer"], "param_groups": groups}, "param_state": moments}

    if "optimizer" in ours:
        return restored(ours, loaded["param_state"])
    return {index: restored(part, loaded[index]["param_state"]) for index, part in ours.items()}


def shape_differences(saved: dict[str, Any], shape: ModelShape) -> list[str]:
    """The fields in which the shape that a checkpoint was saved with differs from `shape`, each in words.

    A field that the checkpoint lacks has its default there: it was written when every model had that value.
    """
    there = {field.name: field.default for field in fields(shape) if field.default is not MISSING} | saved
    return [
        f"{key} is {there.get(key)!r} there, {here!r} here"
        for key, here in asdict(shape).items()
        if there.get(key) != here
    ]


def _reason(error: BaseException) -> str:
    """One line of what Megatron says, or of the first failure of a rank that torch gathered."""
    if isinstance(error, CheckpointException):
        rank, (error, _) = next(iter(error.failures.items()))
        return f"rank {rank}: {_reason(error)}"
    return " ".join(str(error).split())[:400]


def _load_weights(model: Model, weights: dict[str, Any]) -> None:
    for number, chunk in enumerate(model.chunks):
        result = bare(chunk).load_state_dict(weights[_chunk_name(number)], strict=False)
        # Of a model with adapters these alone are loaded.
        frozen = {name for name, p in bare(chunk).named_parameters() if not p.requires_grad}
        unloaded = {*result.missing_keys, *result.unexpected_keys} - frozen
        wrong = [key for key in unloaded if not key.endswith(EXTRA_STATE)]
        if wrong:
            raise RuntimeError(f"weights missing from or unknown to the model: {wrong}")


def _sharded_state(model: Model, optimizer: MegatronOptimizer, loading: bool) -> dict[str, Any]:
    metadata = {
        "distrib_optim_sharding_type": FORMAT,
        "chained_optim_avoid_prefix": True,  # moments have the same names whether experts have an optimizer or not
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
    }
    state: dict[str, Any] = {"model": _sharded_weights(model, metadata)}
    if loading:
        with positions_without_padding(model):
            state["optimizer"] = optimizer.sharded_state_dict(state, is_loading=True, metadata=metadata)
    else:
        state["optimizer"] = optimizer_shares(optimizer, state)
    state["torch_rng"] = None if loading else torch.get_rng_state()
    if torch.cuda.is_available():
        state["cuda_rng"] = None if loading else tensor_parallel.get_cuda_rng_tracker().get_states()
    return state


def _sharded_weights(model: Model, metadata: dict[str, Any]) -> dict[str, Any]:
    chunks = enumerate(model.chunks)
    if model.adapters:
        return {_chunk_name(number): sharded_adapters(chunk) for number, chunk in chunks}
    return {_chunk_name(number): _sharded_chunk(chunk, metadata) for number, chunk in chunks}


def _sharded_chunk(chunk: torch.nn.Module, metadata: dict[str, Any]) -> dict[str, Any]:
    weights = bare(chunk).sharded_state_dict(metadata=metadata)
    return {key: w for key, w in weights.items() if not key.endswith(EXTRA_STATE)}


def _chunk_name(number: int) -> str:
    return f"chunk{number}"
