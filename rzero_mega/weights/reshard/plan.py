"""The reshard plan: a deterministic list of transfers from (placement, mapping, destinations).

Nothing here communicates. Every rank computes the same plan from the same placement and replays its own share of it,
and a test replays all of it in one process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import torch

from rzero_mega.weights.bucket import Slot, divisible, plan_buckets
from rzero_mega.weights.mapping.kinds import FusedQkv
from rzero_mega.weights.mapping.regions import Region, shard_contents
from rzero_mega.weights.mapping.table import Entry
from rzero_mega.weights.reshard.placement import Shard, holders_of
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class Destination:
    """A rank that receives the tensor-parallel shard `tp_rank` of `tp` of every tensor; 0 of 1 is the whole.

    With `tensors` it receives those alone.
    """

    rank: int
    tp_rank: int = 0
    tp: int = 1
    tensors: frozenset[str] | None = None

    def takes(self, name: str) -> bool:
        """Whether it receives the tensor."""
        return self.tensors is None or name in self.tensors


@dataclass(frozen=True)
class Transfer:
    """`rows` x `columns` elements from (row, column) of a shard to (to_row, to_column) of a destination's tensor."""

    source: int
    parameter: str
    row: int
    column: int
    destination: int
    tensor: str
    to_row: int
    to_column: int
    rows: int
    columns: int
    itemsize: int

    @property
    def nbytes(self) -> int:
        """Bytes that travel."""
        return self.rows * self.columns * self.itemsize


@dataclass(frozen=True)
class BucketTransfers:
    """One bucket of each destination: the slots of its tensors (by index), and the transfers that fill them.

    Destinations of different tensors may have no slots in it.
    """

    slots: tuple[tuple[Slot, ...], ...]
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True)
class ReshardPlan:
    """All buckets in order. `destination` of a transfer is an index into `destinations`."""

    destinations: tuple[Destination, ...]
    buckets: tuple[BucketTransfers, ...]


def plan_reshard(
    entries: Sequence[Entry],
    shape: ModelShape,
    placement: Sequence[Shard],
    destinations: Sequence[Destination],
    bucket_bytes: int,
) -> ReshardPlan:
    """Who sends what where. The placement must be valid (see `validation.placement_violations`).

    A destination takes what it holds itself from itself; of other ranks that hold the same, the one that has sent
    least so far sends. Buckets hold at most `bucket_bytes` of whole tensors' bytes, or one tensor that alone is larger;
    they end at the same tensors for destinations of the same tensors.
    """
    holders = holders_of(placement)
    sent: dict[int, int] = defaultdict(int)
    geometry = _Geometry(shape)
    transfers = [transfer for entry in entries for transfer in _fill(entry, geometry, holders, destinations, sent)]
    by_tensor: dict[tuple[int, str], list[Transfer]] = defaultdict(list)
    for transfer in transfers:
        by_tensor[transfer.destination, transfer.tensor].append(transfer)
    at = _laid_out(entries, shape, placement, destinations, bucket_bytes)
    buckets = []
    for here in zip_longest(*at, fillvalue=()):
        filling = [t for index, slots in enumerate(here) for slot in slots for t in by_tensor[index, slot.name]]
        buckets.append(BucketTransfers(tuple(here), tuple(filling)))
    return ReshardPlan(tuple(destinations), tuple(buckets))


def plan_evenly(
    entries: Sequence[Entry],
    shape: ModelShape,
    placement: Sequence[Shard],
    destinations: Sequence[Destination],
    bucket_bytes: int,
) -> ReshardPlan:
    """As `plan_reshard` for many destinations, and no rank sends more than `bucket_bytes` of a bucket to others.

    Smaller buckets see to that; buckets that can't be divided don't count, which may be larger.
    """
    limit = bucket_bytes
    while True:
        plan = plan_reshard(entries, shape, placement, destinations, limit)
        sent = most_sent(plan)
        if sent <= bucket_bytes:
            return plan
        limit = min(limit // 2, limit * bucket_bytes // sent)


def tensors_of_placement(
    entries: Sequence[Entry], placement: Sequence[Shard]
) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
    """Hugging Face name, dtype and shape of every tensor, in the order of the entries."""
    dtypes = {shard.name: shard.dtype for shard in placement}
    return [(name, dtypes[e.megatron], size) for e in entries for name, size in zip(e.hf, e.sizes, strict=True)]


def most_sent(plan: ReshardPlan) -> int:
    """The most bytes that a rank sends to others in one bucket, as far as smaller buckets could change it."""
    most = 0
    for bucket in plan.buckets:
        sent: dict[int, int] = defaultdict(int)
        for transfer in bucket.transfers:
            smaller = divisible(bucket.slots[transfer.destination])
            if smaller and transfer.source != plan.destinations[transfer.destination].rank:
                sent[transfer.source] += transfer.nbytes
        most = max(most, *sent.values(), 0)
    return most


def destination_region(entry: Entry, tensor: int, shape: ModelShape, destination: Destination) -> Region:
    """The region of tensor number `tensor` of the entry that the destination takes.

    Blocks along the dimension that is sharded are equal, the last ones shorter where `tp` does not divide it. Where
    there are fewer key-value heads than shards, each takes the head that its queries attend to.
    """
    size = entry.sizes[tensor]
    rows, columns = size[0], size[1] if len(size) > 1 else 1
    if entry.kind.shard_dim is None:
        return Region(0, 0, rows, columns)
    if isinstance(entry.kind, FusedQkv) and tensor > 0 and shape.kv_heads < destination.tp:
        head = destination.tp_rank * shape.kv_heads // destination.tp
        return Region(head * shape.head_dim, 0, shape.head_dim, columns)
    if entry.kind.shard_dim == 0:
        start, count = _block(rows, destination)
        return Region(start, 0, count, columns)
    start, count = _block(columns, destination)
    return Region(0, start, rows, count)


def _block(size: int, destination: Destination) -> tuple[int, int]:
    block = -(-size // destination.tp)
    start = min(destination.tp_rank * block, size)
    return start, min(block, size - start)


@dataclass(frozen=True)
class _Piece:
    """Rows and columns of a shard that belong to a destination's region of tensor number `tensor` of the entry."""

    tensor: int
    row: int
    column: int
    to_row: int
    to_column: int
    rows: int
    columns: int


class _Geometry:
    """What a shard has of what a destination wants; the entries of layers and experts are alike, and so are pieces."""

    def __init__(self, shape: ModelShape) -> None:
        self._shape = shape
        self._pieces: dict[tuple[object, ...], tuple[_Piece, ...]] = {}

    def pieces(self, entry: Entry, shard: Shard, destination: Destination) -> tuple[_Piece, ...]:
        key = (entry.kind, entry.sizes, shard.index, shard.count, destination.tp_rank, destination.tp)
        found = self._pieces.get(key)
        if found is None:
            found = self._pieces[key] = tuple(self._cut(entry, shard, destination))
        return found

    def _cut(self, entry: Entry, shard: Shard, destination: Destination) -> Iterable[_Piece]:
        for held in shard_contents(entry, self._shape, shard.index, shard.count).regions:
            wanted = destination_region(entry, held.tensor, self._shape, destination)
            common = held.hf.intersection(wanted)
            if common is not None:
                yield _Piece(
                    tensor=held.tensor,
                    row=held.row + common.row - held.hf.row,
                    column=held.column + common.column - held.hf.column,
                    to_row=common.row - wanted.row,
                    to_column=common.column - wanted.column,
                    rows=common.rows,
                    columns=common.columns,
                )


def _fill(
    entry: Entry,
    geometry: _Geometry,
    holders: dict[str, list[Shard]],
    destinations: Sequence[Destination],
    sent: dict[int, int],
) -> Iterable[Transfer]:
    """Transfers that fill the destinations' regions of the entry's tensors, one destination after another."""
    itemsize = holders[entry.megatron][0].dtype.itemsize
    replicas = [(held, [shard.rank for shard in held]) for held in _replicas(entry, holders[entry.megatron])]
    for index, destination in enumerate(destinations):
        for held, ranks in replicas:
            for piece in geometry.pieces(entry, held[0], destination):
                if not destination.takes(entry.hf[piece.tensor]):
                    continue
                source = _source(ranks, destination.rank, sent)
                transfer = Transfer(
                    source=source,
                    parameter=entry.megatron,
                    row=piece.row,
                    column=piece.column,
                    destination=index,
                    tensor=entry.hf[piece.tensor],
                    to_row=piece.to_row,
                    to_column=piece.to_column,
                    rows=piece.rows,
                    columns=piece.columns,
                    itemsize=itemsize,
                )
                if source != destination.rank:
                    sent[source] += transfer.nbytes
                yield transfer


def _replicas(entry: Entry, holders: list[Shard]) -> list[list[Shard]]:
    """The entry's shards, those with the same elements together."""
    if entry.kind.shard_dim is None:
        return [holders]
    by_index: dict[int, list[Shard]] = defaultdict(list)
    for shard in holders:
        by_index[shard.index].append(shard)
    return [by_index[index] for index in sorted(by_index)]


def _source(ranks: list[int], receiver: int, sent: dict[int, int]) -> int:
    if len(ranks) == 1 or receiver in ranks:
        return receiver if receiver in ranks else ranks[0]
    return min(ranks, key=lambda rank: (sent[rank], rank))


def _laid_out(
    entries: Sequence[Entry],
    shape: ModelShape,
    placement: Sequence[Shard],
    destinations: Sequence[Destination],
    bucket_bytes: int,
) -> list[list[tuple[Slot, ...]]]:
    """The buckets' slots of each destination; those that receive the same share them."""
    whole = tensors_of_placement(entries, placement)
    buckets: dict[frozenset[str] | None, list[tuple[Slot, ...]]] = {}
    found: dict[Destination, list[tuple[Slot, ...]]] = {}
    alike = [replace(destination, rank=0) for destination in destinations]
    for kind in alike:
        if kind not in found:
            if kind.tensors not in buckets:
                buckets[kind.tensors] = plan_buckets((t for t in whole if kind.takes(t[0])), bucket_bytes)
            sizes = _shard_sizes(entries, shape, kind)
            found[kind] = [_slots(slots, sizes) for slots in buckets[kind.tensors]]
    return [found[kind] for kind in alike]


def _shard_sizes(entries: Sequence[Entry], shape: ModelShape, destination: Destination) -> dict[str, tuple[int, ...]]:
    sizes = {}
    for entry in entries:
        for tensor, name in enumerate(entry.hf):
            if not destination.takes(name):
                continue
            region = destination_region(entry, tensor, shape, destination)
            sizes[name] = (region.rows, region.columns)[: len(entry.sizes[tensor])]
    return sizes


def _slots(whole: Sequence[Slot], sizes: dict[str, tuple[int, ...]]) -> tuple[Slot, ...]:
    slots, start = [], 0
    for slot in whole:
        slots.append(Slot(slot.name, slot.dtype, sizes[slot.name], start))
        start = slots[-1].stop
    return tuple(slots)
