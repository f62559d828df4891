"""Hugging Face tensors into the shards that this rank holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights.mapping import Entry
from rzero_mega.weights.shape import ModelShape


@torch.no_grad()
def scatter_hf(
    entries: Sequence[Entry],
    read: Callable[[str], Tensor],
    local: Mapping[str, Tensor],
    shape: ModelShape,
    tp: int,
    tp_rank: int,
) -> None:
    """Fill the tensors of `local` (by Megatron name) from full Hugging Face tensors; `read` gives one by its name.

    UserError names the first tensor whose shape differs from what the configuration says.
    """
    known = {entry.megatron: entry for entry in entries}
    for name, target in local.items():
        entry = known.get(name)
        if entry is None and name == "output_layer.weight":
            # Tied embeddings over a pipeline: the last stage holds a copy of the embedding.
            entry = known["embedding.word_embeddings.weight"]
        if entry is None:
            raise KeyError(f"{name}: the family's table has no rule for this parameter")
        parts = [read(hf_name) for hf_name in entry.hf]
        shard = entry.kind.shard(entry.kind.merge(parts, shape), tp, tp_rank)
        if shard.shape != target.shape:
            raise UserError(
                f"{', '.join(entry.hf)}: shapes {[tuple(p.shape) for p in parts]} do not make the "
                f"{tuple(target.shape)} that config.json asks for"
            )
        target.copy_(shard)
