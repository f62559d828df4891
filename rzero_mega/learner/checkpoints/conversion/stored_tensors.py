"""Where in Megatron's distributed checkpoint every tensor of a mapping table lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LearnerConfig
from rzero_mega.learner.megatron.compat import calls_megatron
from rzero_mega.learner.megatron.model import build_gpt, transformer_config
from rzero_mega.learner.megatron.process_groups import start_process_groups
from rzero_mega.learner.megatron.spec import local_spec
from rzero_mega.weights.mapping import Entry, entries
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class StoredTensor:
    """An entry of the table and its place: the box of `sizes` at `offsets` in the tensor `key` of shape `whole`.

    A checkpoint stacks the layers along axes in front: `stacked` counts them, and `sizes` has a 1 for each. With
    `padded` the rows (vocabulary entries) may be more, depending on the layout that saved.
    """

    entry: Entry
    key: str
    whole: tuple[int, ...]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    stacked: int
    padded: bool


@calls_megatron
def stored_tensors(shape: ModelShape) -> list[StoredTensor]:
    """Every entry of the model's table in its order, placed as Megatron itself says.

    The model that is asked lies on the meta device and needs no memory. Its layers are of the local spec: Transformer
    Engine's have the same keys in checkpoints.
    """
    state = _meta_model(shape).sharded_state_dict()
    found = [_place(entry, state.pop(entry.megatron)) for entry in entries(shape)]
    unknown = [key for key, value in state.items() if isinstance(value, ShardedTensor | ShardedTensorFactory)]
    if unknown:
        raise RuntimeError(f"the family's table has no rule for {unknown}")
    return found


def _meta_model(shape: ModelShape) -> Any:
    layout = ParallelLayout()
    start_process_groups(layout, 0)
    config = transformer_config(shape, layout, LearnerConfig())
    config.use_cpu_initialization, config.perform_initialization = True, False
    with torch.device("meta"):
        return build_gpt(shape, config, local_spec(config))


def _place(entry: Entry, value: ShardedTensor | ShardedTensorFactory) -> StoredTensor:
    # A factory cuts its tensor (gate and up projection) so that each piece can be sharded; together they are the whole.
    pieces = value.build() if isinstance(value, ShardedTensorFactory) else value
    first = pieces[0] if isinstance(pieces, list) else pieces
    stacked, whole = first.prepend_axis_num, tuple(first.global_shape)
    return StoredTensor(
        entry=entry,
        key=first.key,
        whole=whole,
        offsets=(*first.global_offset[:stacked], *(0 for _ in whole[stacked:])),
        sizes=(*(1 for _ in whole[:stacked]), *whole[stacked:]),
        stacked=stacked,
        padded=first.allow_shape_mismatch,
    )
