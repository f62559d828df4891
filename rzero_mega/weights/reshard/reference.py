"""Reference executor: every tensor gathered over tensor parallelism and broadcast to the others, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from rzero_mega import spmd
from rzero_mega.weights.mapping import Entry
from rzero_mega.weights.mapping.names import is_expert
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class ModelGroups:
    """The process groups over which one copy of the model is spread; `etp` shards the experts of an `ep` rank."""

    tp: dist.ProcessGroup
    pp: dist.ProcessGroup
    ep: dist.ProcessGroup
    etp: dist.ProcessGroup


@dataclass(frozen=True)
class _Holder:
    """Who holds a parameter, by pipeline stage and rank in expert parallelism; shape and dtype of a shard."""

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
        spmd.barrier()  # who passes a tensor on, to a disk or a server, may take longer than a collective may
        holder = where[entry.megatron]
        shard = local[entry.megatron].detach() if entry.megatron in local else None
        if is_expert(entry.megatron):
            shard = _broadcast(shard, holder, groups.ep, holder.expert_rank, holder.stage == groups.pp.rank())
            group = groups.etp
        else:
            group = groups.tp
        shard = _broadcast(shard, holder, groups.pp, holder.stage, True)
        full = entry.kind.unshard(_all_gather(shard, group))
        for name, tensor in zip(entry.hf, entry.kind.split(full, shape), strict=True):
            yield name, tensor.contiguous()


def _holders(local: Mapping[str, Tensor], groups: ModelGroups) -> dict[str, _Holder]:
    """Which pipeline stage and expert rank hold which name; the first where several do (tied embeddings)."""
    here = groups.pp.rank(), groups.ep.rank()
    found = {name: _Holder(*here, tuple(t.shape), t.dtype) for name, t in local.items()}
    for group in (groups.ep, groups.pp):
        if group.size() > 1:
            everyone: list[dict[str, _Holder]] = [{} for _ in range(group.size())]
            dist.all_gather_object(everyone, found, group=group)
            found = {name: holder for one in reversed(everyone) for name, holder in one.items()}
    return found


def _broadcast(
    shard: Tensor | None, holder: _Holder, group: dist.ProcessGroup, source: int, takes_part: bool
) -> Tensor:
    """The shard of the group's rank `source`; ranks that don't take part get one that is not used."""
    if shard is None:
        device = "cuda" if dist.get_backend(group) == "nccl" else "cpu"
        shard = torch.empty(holder.shape, dtype=holder.dtype, device=device)
    if group.size() == 1 or not takes_part:
        return shard
    shard = shard.contiguous()
    dist.broadcast(shard, src=dist.get_global_rank(group, source), group=group)
    return shard


def _all_gather(shard: Tensor, tp: dist.ProcessGroup) -> list[Tensor]:
    if tp.size() == 1:
        return [shard]
    shards = [torch.empty_like(shard) for _ in range(tp.size())]
    dist.all_gather(shards, shard.contiguous(), group=tp)
    return shards
