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
        _check_shapes(entry, parts, target, shape, tp)
        target.copy_(entry.kind.shard(entry.kind.merge(parts, shape), tp, tp_rank))


def _check_shapes(entry: Entry, parts: Sequence[Tensor], target: Tensor, shape: ModelShape, tp: int) -> None:
    # What the shard's way back would give. Comparing shards alone would take tensors that only add up to the right
    # size, and rows that end up in the padding of the vocabulary.
    shard = torch.empty_like(target, device="meta")
    expected = entry.kind.split(entry.kind.unshard([shard] * tp), shape)
    for name, part, right in zip(entry.hf, parts, expected, strict=True):
        if part.shape != right.shape:
            raise UserError(f"{name}: shape {tuple(part.shape)} is not the {tuple(right.shape)} of config.json")
