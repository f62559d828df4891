"""Hugging Face tensors into the shards that this rank holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights.mapping import Entry
from rzero_mega.weights.mapping.dense import EMBEDDING, OUTPUT
from rzero_mega.weights.shape import ModelShape


@torch.no_grad()
def scatter_hf(
    entries: Sequence[Entry],
    read: Callable[[str], Tensor],
    local: Mapping[str, Tensor],
    shape: ModelShape,
    shard_of: Callable[[str], tuple[int, int]],
) -> None:
    """Fill the tensors of `local` (by Megatron name) from full Hugging Face tensors; `read` gives one by its name.

    `shard_of` gives (index, count) of a Megatron name: which of its shards this rank holds. UserError names the first
    tensor whose shape differs from what the configuration says.
    """
    known = {entry.megatron: entry for entry in entries}
    for name, target in local.items():
        entry = known.get(name)
        if entry is None and name == OUTPUT:
            # Tied embeddings over a pipeline: the last stage holds a copy of the embedding.
            entry = known[EMBEDDING]
        if entry is None:
            raise KeyError(f"{name}: the family's table has no rule for this parameter")
        tensors = [read(hf_name) for hf_name in entry.hf]
        for hf_name, tensor, size in zip(entry.hf, tensors, entry.sizes, strict=True):
            if tuple(tensor.shape) != size:
                raise UserError(f"{hf_name}: shape {tuple(tensor.shape)} is not the {size} of config.json")
        index, count = shard_of(name)
        target.copy_(entry.kind.shard(entry.kind.merge(tensors, shape), count, index))
