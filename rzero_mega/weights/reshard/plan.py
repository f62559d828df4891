"""The reshard plan: a deterministic list of transfers from (placement, mapping, destinations).

Nothing here communicates. Every rank computes the same plan from the same placement and replays its own part of it, and
a test replays all parts in one process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rzero_mega.weights.bucket import Slot, plan_buckets
from rzero_mega.weights.mapping.kinds import FusedQkv
from rzero_mega.weights.mapping.pieces import Piece, shard_layout
from rzero_mega.weights.mapping.table import Entry
from rzero_mega.weights.reshard.placement import Shard, holders_of
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class Destination:
    """A rank that receives cut `part` of `parts` of every tensor; 0 of 1 is the whole."""

    rank: int
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class Box:
    """A rectangle of a Hugging Face tensor. One-dimensional tensors have one column."""

    row: int
    column: int
    rows: int
    columns: int


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
class BucketPlan:
    """One bucket: where its tensors lie at each destination (by index), and what fills them."""

    slots: tuple[tuple[Slot, ...], ...]
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True)
class ReshardPlan:
    """All buckets in order. `destination` of a transfer is an index into `destinations`."""

    destinations: tuple[Destination, ...]
    buckets: tuple[BucketPlan, ...]


def plan_reshard(
    entries: Sequence[Entry],
    shape: ModelShape,
    placement: Sequence[Shard],
    destinations: Sequence[Destination],
    bucket_bytes: int,
) -> ReshardPlan:
    """Who sends what where. The placement must be valid (see `validation.placement_violations`).

    A destination takes what it holds itself from itself; of other ranks that hold the same, the one that has sent
    least so far sends. Buckets end at the same tensors for all destinations and hold at most `bucket_bytes` of a whole
    tensor's bytes, or one tensor that alone is larger.
    """
    holders = holders_of(placement)
    sent: dict[int, int] = defaultdict(int)
    transfers = [
        transfer
        for entry in entries
        for index, destination in enumerate(destinations)
        for transfer in _fill(entry, shape, holders, index, destination, sent)
    ]
    by_tensor: dict[str, list[Transfer]] = defaultdict(list)
    for transfer in transfers:
        by_tensor[transfer.tensor].append(transfer)
    dtypes = {entry.megatron: holders[entry.megatron][0].dtype for entry in entries}
    whole = ((name, dtypes[e.megatron], size) for e in entries for name, size in zip(e.hf, e.sizes, strict=True))
    cuts = [_cut_sizes(entries, shape, destination) for destination in destinations]
    buckets = []
    for slots in plan_buckets(whole, bucket_bytes):
        names = [slot.name for slot in slots]
        here = tuple(_slots(slots, sizes) for sizes in cuts)
        buckets.append(BucketPlan(here, tuple(t for name in names for t in by_tensor[name])))
    return ReshardPlan(tuple(destinations), tuple(buckets))


def destination_box(entry: Entry, tensor: int, shape: ModelShape, destination: Destination) -> Box:
    """The rectangle of tensor number `tensor` of the entry that the destination takes.

    The dimension that tensor parallelism cuts is cut into equal blocks, the last ones shorter where it does not divide.
    Where there are fewer key-value heads than parts, every part takes the head that its queries attend to.
    """
    size = entry.sizes[tensor]
    rows, columns = size[0], size[1] if len(size) > 1 else 1
    if entry.kind.cut_dim is None:
        return Box(0, 0, rows, columns)
    if isinstance(entry.kind, FusedQkv) and tensor > 0 and shape.kv_heads < destination.parts:
        head = destination.part * shape.kv_heads // destination.parts
        return Box(head * shape.head_dim, 0, shape.head_dim, columns)
    if entry.kind.cut_dim == 0:
        start, count = _block(rows, destination)
        return Box(start, 0, count, columns)
    start, count = _block(columns, destination)
    return Box(0, start, rows, count)


def _block(size: int, destination: Destination) -> tuple[int, int]:
    block = -(-size // destination.parts)
    start = min(destination.part * block, size)
    return start, min(block, size - start)


def _fill(
    entry: Entry,
    shape: ModelShape,
    holders: dict[str, list[Shard]],
    index: int,
    destination: Destination,
    sent: dict[int, int],
) -> Iterable[Transfer]:
    """Transfers that fill the destination's boxes of the entry's tensors."""
    itemsize = holders[entry.megatron][0].dtype.itemsize
    for candidates in _by_part(entry, holders[entry.megatron]):
        shard = candidates[0]
        for piece in shard_layout(entry, shape, shard.part, shard.parts).pieces:
            box = destination_box(entry, piece.tensor, shape, destination)
            common = _intersection(piece, box)
            if common is None:
                continue
            source = _source(candidates, destination.rank, sent)
            transfer = Transfer(
                source=source,
                parameter=entry.megatron,
                row=piece.row + common.row - piece.hf_row,
                column=piece.column + common.column - piece.hf_column,
                destination=index,
                tensor=entry.hf[piece.tensor],
                to_row=common.row - box.row,
                to_column=common.column - box.column,
                rows=common.rows,
                columns=common.columns,
                itemsize=itemsize,
            )
            if source != destination.rank:
                sent[source] += transfer.nbytes
            yield transfer


def _by_part(entry: Entry, holders: list[Shard]) -> list[list[Shard]]:
    """Shards that hold the same elements, for all different elements."""
    if entry.kind.cut_dim is None:
        return [holders]
    parts: dict[int, list[Shard]] = defaultdict(list)
    for shard in holders:
        parts[shard.part].append(shard)
    return [parts[part] for part in sorted(parts)]


def _source(candidates: list[Shard], receiver: int, sent: dict[int, int]) -> int:
    ranks = [shard.rank for shard in candidates]
    return receiver if receiver in ranks else min(ranks, key=lambda rank: (sent[rank], rank))


def _intersection(piece: Piece, box: Box) -> Box | None:
    row, column = max(piece.hf_row, box.row), max(piece.hf_column, box.column)
    rows = min(piece.hf_row + piece.rows, box.row + box.rows) - row
    columns = min(piece.hf_column + piece.columns, box.column + box.columns) - column
    return Box(row, column, rows, columns) if rows > 0 and columns > 0 else None


def _cut_sizes(entries: Sequence[Entry], shape: ModelShape, destination: Destination) -> dict[str, tuple[int, ...]]:
    sizes = {}
    for entry in entries:
        for tensor, name in enumerate(entry.hf):
            box = destination_box(entry, tensor, shape, destination)
            sizes[name] = (box.rows, box.columns)[: len(entry.sizes[tensor])]
    return sizes


def _slots(whole: Sequence[Slot], sizes: dict[str, tuple[int, ...]]) -> tuple[Slot, ...]:
    slots, start = [], 0
    for slot in whole:
        slots.append(Slot(slot.name, slot.dtype, sizes[slot.name], start))
        start = slots[-1].stop
    return tuple(slots)
