"""The learner's weights on their way out: shards become full tensors under Hugging Face names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import torch.distributed as dist
from megatron.core import parallel_state
from torch import Tensor

from rzero_mega.config.schema import WeightsConfig
from rzero_mega.learner.megatron.model import Model, tensor_shard
from rzero_mega.learner.megatron.process_groups import device
from rzero_mega.weights.adapters import AdaptedWeights, Adapters
from rzero_mega.weights.mapping import Entry, entries
from rzero_mega.weights.mapping.adapters import adapter_entries
from rzero_mega.weights.model_parts import PartedWeights, plan_parts
from rzero_mega.weights.reshard.placement import Shard, gather_placement, local_shards
from rzero_mega.weights.reshard.plan import Destination, plan_evenly, plan_reshard, tensors_of_placement
from rzero_mega.weights.reshard.reference import ModelGroups, gather_hf
from rzero_mega.weights.reshard.validation import placement_violations, validate
from rzero_mega.weights.shape import ModelShape
from rzero_mega.weights.sources import GatheredWeights, PlannedWeights, WeightSource

Local: TypeAlias = Callable[[], Mapping[str, Tensor]]


def export_tensors(model: Model) -> Iterator[tuple[str, Tensor]]:
    """(name, full tensor) of the present weights on every rank, by the reference executor."""
    return _gathered(model, entries(model.shape), model.local_weights)


def model_groups() -> ModelGroups:
    """The process groups of this rank's copy of the model."""
    return ModelGroups(
        tp=parallel_state.get_tensor_model_parallel_group(),
        pp=parallel_state.get_pipeline_model_parallel_group(),
        ep=parallel_state.get_expert_model_parallel_group(),
        etp=parallel_state.get_expert_tensor_parallel_group(),
    )


def weight_source(model: Model, receivers: Sequence[int], config: WeightsConfig) -> WeightSource:
    """The weights in buckets that reach the `receivers` (ranks), by the executor of `weights.executor`.

    Adapters, if the model has them, are added; they are there apart as well. UserError lists what keeps the ranks'
    shards from covering every tensor.
    """
    table = entries(model.shape)
    weights = _source(model, table, model.local_weights, receivers, config)
    rank = model.lora.rank
    if rank is None:
        return weights

    def local() -> dict[str, Tensor]:
        return {name: parameter.data for name, parameter in model.trained.items()}

    own = adapter_entries(table, rank, model.lora.modules)
    return AdaptedWeights(weights, Adapters(_source(model, own, local, receivers, config), model.lora))


def _source(
    model: Model, table: Sequence[Entry], local: Local, receivers: Sequence[int], config: WeightsConfig
) -> WeightSource:
    if config.executor == "reference":
        receives = dist.get_rank() in receivers
        tensors = partial(_gathered, model, table, local)
        return GatheredWeights(tensors, config.bucket_bytes, receives)
    destinations = [Destination(rank) for rank in receivers]
    placement = _placement(model.shape, table, local(), destinations)
    # A receiver holds two buckets and what is staged for one of them: half of `bucket_mb` each keeps all that within
    # two of `bucket_mb`.
    plan = plan_reshard(table, model.shape, placement, destinations, config.bucket_bytes // 2)
    return PlannedWeights(plan, local, dist.get_rank(), device())


def _gathered(model: Model, table: Sequence[Entry], local: Local) -> Iterator[tuple[str, Tensor]]:
    return gather_hf(table, local(), model.shape, model_groups())


def parted_weights(model: Model, config: WeightsConfig) -> PartedWeights:
    """The weights on their way into a folder that all ranks write. UserError as `weight_source`."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    table = entries(model.shape)
    placement = _placement(model.shape, table, model.local_weights(), ())
    parts = plan_parts(tensors_of_placement(table, placement), ranks)
    of_rank = {part.rank: frozenset(s.name for p in parts if p.rank == part.rank for s in p.slots) for part in parts}
    if config.executor == "reference":
        mine = of_rank.get(rank, frozenset())
        tensors = partial(_some_tensors, model, mine)
        return PartedWeights(parts, GatheredWeights(tensors, config.bucket_bytes, receives=bool(mine)))
    destinations = [Destination(receiver, tensors=names) for receiver, names in of_rank.items()]
    plan = plan_evenly(table, model.shape, placement, destinations, config.bucket_bytes // 2)
    return PartedWeights(parts, PlannedWeights(plan, model.local_weights, rank, device()))


def _some_tensors(model: Model, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    return ((name, tensor) for name, tensor in export_tensors(model) if name in names)


def _placement(
    shape: ModelShape, table: Sequence[Entry], local: Mapping[str, Tensor], destinations: Sequence[Destination]
) -> list[Shard]:
    """Who holds what, checked. Every rank calls this."""
    placement = gather_placement(local_shards(dist.get_rank(), local, tensor_shard))
    validate(placement_violations(table, shape, placement, destinations))
    return placement
