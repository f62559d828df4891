"""Adapters in a checkpoint: their tensors alone, under any layout, and what they belong to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.transformer.mlp import apply_swiglu_sharded_factory

from rzero_mega.errors import UserError
from rzero_mega.learner.megatron.lora import NAME, Adapter, adapters_of
from rzero_mega.learner.megatron.model import Model
from rzero_mega.learner.megatron.policy_model import bare

KEY = "lora"


def said_of_adapters(model: Model, base: str) -> dict[str, Any]:
    """For what is common to all ranks: which adapters these are, and on which base; nothing if all weights train."""
    return {KEY: {**asdict(model.lora), "base": base}} if model.adapters else {}


def check_adapters(folder: Path, common: dict[str, Any], model: Model, base: str) -> None:
    """UserError if a checkpoint is of other adapters than the model's, of none, or of a model without."""
    there, here = common.get(KEY), said_of_adapters(model, base).get(KEY)
    if there is None and here is None:
        return
    if not isinstance(there, dict) or here is None:
        what = "adapters" if here is None else "all weights"
        raise UserError(f"{folder}: checkpoint of {what}; set learner.lora as it was when it was written")
    wrong = [
        f"{key} is {there.get(key)!r} there, {value!r} here" for key, value in here.items() if there.get(key) != value
    ]
    if wrong:
        raise UserError(f"{folder}: checkpoint of other adapters: {'; '.join(wrong)}")


def sharded_adapters(chunk: torch.nn.Module) -> dict[str, Any]:
    """The adapters of a chunk by their names in it, each as what it is of a tensor of the whole model."""
    ours = {id(module): name for name, module in bare(chunk).named_modules() if isinstance(module, Adapter)}
    found: dict[str, Any] = {}
    for weight, adapter in adapters_of(chunk).items():
        key = f"{weight.removesuffix('.weight')}.{NAME}"
        for name, parameter in adapter.named_parameters():
            found[f"{ours[id(adapter)]}.{name}"] = _place(f"{key}.{name}", parameter)
    return found


def _place(key: str, parameter: torch.nn.Parameter) -> ShardedTensor | ShardedTensorFactory:
    tp, rank = parallel_state.get_tensor_model_parallel_world_size(), parallel_state.get_tensor_model_parallel_rank()
    cut = getattr(parameter, "tensor_model_parallel", False)
    offsets = [(parameter.partition_dim, rank, tp)] if cut else []  # type: ignore[attr-defined]
    replica = (0, 0 if cut else rank, parallel_state.get_data_parallel_rank(with_context_parallel=True))
    place = ShardedTensor.from_rank_offsets(key, parameter, *offsets, replica_id=replica)
    if key.endswith(f"linear_fc1.{NAME}.b"):
        factory: ShardedTensorFactory = apply_swiglu_sharded_factory(place, ())
        return factory
    return place
