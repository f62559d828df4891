"""Reference executor: every tensor gathered over tensor parallelism and broadcast to the others, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from rzero_mega.weights.mapping import Entry
from rzero_mega.weights.mapping.names import is_expert
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class ModelGroups:
    """The process groups over which one copy of the model is spread; `etp` cuts the experts of a rank's `ep`."""

    tp: dist.ProcessGroup
    pp: dist.ProcessGroup
    ep: dist.ProcessGroup
    etp: dist.ProcessGroup


@dataclass(frozen=True)
class _Piece:
    """A parameter's shard as its holders see it: their rank in pipeline and expert parallelism, shape and dtype."""

    stage: int
    expert_rank: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@torch.no_grad()
def gather_hf(
    entries: Sequence[Entry], local: Mapping[str, Tensor], shape: ModelShape, groups: ModelGroups
) -> Iterator[tuple[str, Tensor]]:
    """(Hugging Face name, full tensor) of every entry, on every rank, in the order of the entries.

    `local` holds this rank's shards by Megatron name. Every rank of the groups has to exhaust the iterator.
    """
    where = _holders(local, groups)
    for entry in entries:
        piece = where[entry.megatron]
        shard = local[entry.megatron].detach() if entry.megatron in local else None
        if is_expert(entry.megatron):
            shard = _broadcast(shard, piece, groups.ep, piece.expert_rank, piece.stage == groups.pp.rank())
            cut_over = groups.etp
        else:
            cut_over = groups.tp
        shard = _broadcast(shard, piece, groups.pp, piece.stage, True)
        full = entry.kind.unshard(_all_gather(shard, cut_over))
        for name, tensor in zip(entry.hf, entry.kind.split(full, shape), strict=True):
            yield name, tensor.contiguous()


def _holders(local: Mapping[str, Tensor], groups: ModelGroups) -> dict[str, _Piece]:
    """Which pipeline stage and expert rank hold which name; the first where several do (tied embeddings)."""
    here = groups.pp.rank(), groups.ep.rank()
    found = {name: _Piece(*here, tuple(t.shape), t.dtype) for name, t in local.items()}
    for group in (groups.ep, groups.pp):
        if group.size() > 1:
            parts: list[dict[str, _Piece]] = [{} for _ in range(group.size())]
            dist.all_gather_object(parts, found, group=group)
            found = {name: piece for part in reversed(parts) for name, piece in part.items()}
    return found


def _broadcast(shard: Tensor | None, piece: _Piece, group: dist.ProcessGroup, source: int, takes_part: bool) -> Tensor:
    """The shard of the `source`'s in the group; ranks that don't take part get an unused one."""
    if shard is None:
        device = "cuda" if dist.get_backend(group) == "nccl" else "cpu"
        shard = torch.empty(piece.shape, dtype=piece.dtype, device=device)
    if group.size() == 1 or not takes_part:
        return shard
    shard = shard.contiguous()
    dist.broadcast(shard, src=dist.get_global_rank(group, source), group=group)
    return shard


def _all_gather(shard: Tensor, tp: dist.ProcessGroup) -> list[Tensor]:
    if tp.size() == 1:
        return [shard]
    parts = [torch.empty_like(shard) for _ in range(tp.size())]
    dist.all_gather(parts, shard.contiguous(), group=tp)
    return parts
