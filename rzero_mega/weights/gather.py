"""Golden executor: every tensor gathered over tensor parallelism and broadcast over the pipeline, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from rzero_mega.weights.mapping import Entry
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class ModelGroups:
    """The process groups over which one copy of the model is spread."""

    tp: dist.ProcessGroup
    pp: dist.ProcessGroup


@dataclass(frozen=True)
class _Piece:
    stage: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@torch.no_grad()
def gather_hf(
    entries: Sequence[Entry], local: Mapping[str, Tensor], shape: ModelShape, groups: ModelGroups
) -> Iterator[tuple[str, Tensor]]:
    """(Hugging Face name, full tensor) of every entry, on every rank, in the order of the entries.

    `local` holds this rank's shards by Megatron name. Every rank of the groups has to exhaust the iterator.
    """
    where = _stages(local, groups.pp)
    for entry in entries:
        piece = where[entry.megatron]
        shard = local[entry.megatron].detach() if piece.stage == groups.pp.rank() else None
        shard = _broadcast(shard, piece, groups.pp)
        full = entry.kind.unshard(_all_gather(shard, groups.tp))
        for name, tensor in zip(entry.hf, entry.kind.split(full, shape), strict=True):
            yield name, tensor.contiguous()


def _stages(local: Mapping[str, Tensor], pp: dist.ProcessGroup) -> dict[str, _Piece]:
    """Which pipeline stage holds which name; the first one where several do (tied embeddings)."""
    mine = {name: _Piece(pp.rank(), tuple(t.shape), t.dtype) for name, t in local.items()}
    if pp.size() == 1:
        return mine
    stages: list[dict[str, _Piece]] = [{} for _ in range(pp.size())]
    dist.all_gather_object(stages, mine, group=pp)
    return {name: piece for stage in reversed(stages) for name, piece in stage.items()}


def _broadcast(shard: Tensor | None, piece: _Piece, pp: dist.ProcessGroup) -> Tensor:
    if pp.size() == 1:
        assert shard is not None
        return shard
    if shard is None:
        device = "cuda" if dist.get_backend(pp) == "nccl" else "cpu"
        shard = torch.empty(piece.shape, dtype=piece.dtype, device=device)
    shard = shard.contiguous()
    dist.broadcast(shard, src=dist.get_global_rank(pp, piece.stage), group=pp)
    return shard


def _all_gather(shard: Tensor, tp: dist.ProcessGroup) -> list[Tensor]:
    if tp.size() == 1:
        return [shard]
    parts = [torch.empty_like(shard) for _ in range(tp.size())]
    dist.all_gather(parts, shard.contiguous(), group=tp)
    return parts
