"""Main weights and moments for a checkpoint, each written by the rank that has them.

The format is Megatron's `fully_reshardable`: tensors of the parameters' shapes, which load under any layout. Megatron
makes them of what all data-parallel ranks have: each of them copies its share, gathers everyone's, and holds main
weights and both moments of its part of the model in host memory, 12 bytes a parameter however many share them, to write
a part of it. But the distributed optimizer's share of a parameter is a stretch of its elements, which is three
rectangles of the matrix at most, and a tensor in a checkpoint may be of any rectangles: nothing needs to be gathered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.dist_checkpointing.utils import extract_sharded_tensors_and_factories
from megatron.core.optimizer import MegatronOptimizer
from torch import Tensor

from rzero_mega.learner.megatron.optimizer import chained

# Moments in the layout of the model's parameters: reloadable under another number of data-parallel ranks.
FORMAT = "fully_reshardable"
STATES = ("param", "exp_avg", "exp_avg_sq")


def optimizer_shares(optimizer: MegatronOptimizer, weights: dict[str, Any]) -> dict[Any, Any]:
    """This rank's part of the optimizer's state, for saving; `weights` is the model's sharded state, of parameters.

    Its tensors are views of the optimizer's.
    """
    sharded, _ = extract_sharded_tensors_and_factories(weights)
    places = {place.data: place for place in nested_values(sharded)}
    parts = chained(optimizer)
    if len(parts) == 1:
        return _part(parts[0], places)
    # A part without parameters on this rank has done no steps.
    optimizer._synchronize_steps()  # type: ignore[attr-defined]
    return {number: _part(part, places) for number, part in enumerate(parts)}


def _part(part: Any, places: Mapping[Tensor, Any]) -> dict[str, Any]:
    states = {}
    for number, (parameter, first, last) in enumerate(_stretches(part)):
        place, tensors = places[parameter], part._get_main_param_and_optimizer_states(parameter)
        blocks = _blocks(place, parameter.shape)
        # The same parameter may be of several copies of the model's part (tied embeddings, tensor parallelism); of
        # data-parallel ranks this one alone has these elements.
        replica = (*place.replica_id[:2], 0)
        states[number] = {
            state: list(_shards(f"optimizer.state.{state}.", tensors[state], first, last, blocks, replica))
            for state in STATES
        }
    return {**part.state_dict(), "param_state": states, "param_state_sharding_type": FORMAT}


def _stretches(part: Any) -> Iterator[tuple[torch.nn.Parameter, int, int]]:
    """Which elements of which parameters this rank has the optimizer's state of."""
    for buffer in part.gbuf_ranges:
        for buckets in buffer.values():
            for bucket in buckets:
                for parameter, ranges in bucket["param_map"].items():
                    yield parameter, ranges["param"].start, ranges["param"].end


@dataclass(frozen=True)
class _Block:
    """Consecutive elements of a parameter, from `first` on, that are a block of a tensor in the checkpoint."""

    first: int
    place: ShardedTensor

    @property
    def numel(self) -> int:
        return int(torch.Size(self.place.local_shape).numel())


def _blocks(place: ShardedTensor | ShardedTensorFactory, shape: Sequence[int]) -> list[_Block]:
    """One block; or what the factory makes of a parameter, such as the halves of a gated MLP's first matrix."""
    if isinstance(place, ShardedTensor):
        return [_Block(0, place)]
    # Positions are read off a parameter that takes no memory.
    built = replace(place, data=torch.empty(tuple(shape), device="meta")).build()
    blocks = [_Block(int(block.data.storage_offset()), block) for block in nested_values(built)]
    if sum(block.numel for block in blocks) != torch.Size(shape).numel():
        raise RuntimeError(f"{place.key}: its parts are not those of a parameter of shape {tuple(shape)}")
    return blocks


def _shards(
    prefix: str, data: Tensor, first: int, last: int, blocks: Sequence[_Block], replica: tuple[int, ...]
) -> Iterator[ShardedTensor]:
    """`data` are the elements `first` to `last` of a parameter; the rectangles of its blocks that they are."""
    for block in blocks:
        place = block.place
        start, end = max(first, block.first) - block.first, min(last, block.first + block.numel) - block.first
        # Axes of the checkpoint's tensor that the block is one step of, such as the number of an expert.
        before = (1,) * place.prepend_axis_num
        origin = place.global_offset[place.prepend_axis_num :]
        for corner, size in rectangles(place.local_shape, start, end):
            at = block.first - first + _position(place.local_shape, corner)
            values = data.detach().view(-1)[at : at + torch.Size(size).numel()].view(before + size)
            offset = tuple(a + b for a, b in zip(origin, corner, strict=True))
            yield ShardedTensor(
                key=prefix + place.key,
                data=values,
                dtype=values.dtype,
                local_shape=before + size,
                global_shape=place.global_shape,
                global_offset=(*place.global_offset[: place.prepend_axis_num], *offset),
                axis_fragmentations=None,  # no grid: ranks have rectangles of different sizes
                replica_id=replica,
                allow_shape_mismatch=place.allow_shape_mismatch,
            )


def rectangles(shape: Sequence[int], start: int, end: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Corners and sizes that the elements `start` to `end` of a vector or a matrix, row by row, consist of.

    Of a matrix they are the rest of a row, whole rows, and the beginning of a row.
    """
    if len(shape) == 1:
        if start < end:
            yield (start,), (end - start,)
        return
    _, columns = shape
    while start < end:
        row, column = divmod(start, columns)
        whole = 0 if column else (end - start) // columns
        size = (whole, columns) if whole else (1, min(columns - column, end - start))
        yield (row, column), size
        start += size[0] * size[1]


def _position(shape: Sequence[int], corner: tuple[int, ...]) -> int:
    return corner[0] if len(shape) == 1 else corner[0] * shape[1] + corner[1]
