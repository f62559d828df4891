"""Everything that is wrong with a placement or a plan, found before a byte moves and reported at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import prod

from rzero_mega.errors import UserError
from rzero_mega.weights.mapping.pieces import shard_layout
from rzero_mega.weights.mapping.table import Entry
from rzero_mega.weights.reshard.placement import Shard, holders_of
from rzero_mega.weights.reshard.plan import Destination, ReshardPlan, Transfer
from rzero_mega.weights.shape import ModelShape

# Tied embeddings over a pipeline: the last stage's copy, which the table does not list.
TIED_COPY = "output_layer.weight"


def validate(violations: Sequence[str]) -> None:
    """Raise UserError with all violations, if there are any."""
    if violations:
        raise UserError(f"weights cannot be resharded: {'; '.join(violations)}")


def placement_violations(
    entries: Sequence[Entry], shape: ModelShape, placement: Sequence[Shard], destinations: Sequence[Destination]
) -> list[str]:
    """What keeps the shards from covering every tensor of the table, one sentence each."""
    table = {entry.megatron: entry for entry in entries}
    holders = holders_of(placement)
    found = [
        f"rank {holders[name][0].rank} holds {name}, which the family's table does not know"
        for name in holders
        if name not in table and not (name == TIED_COPY and shape.tied)
    ]
    for name, entry in table.items():
        found += _of_parameter(entry, shape, holders.get(name, []))
    return found + _of_destinations(destinations, {shard.rank for shard in placement})


def _of_parameter(entry: Entry, shape: ModelShape, shards: Sequence[Shard]) -> list[str]:
    name = entry.megatron
    if not shards:
        return [f"no rank holds {name}"]
    parts = {shard.parts for shard in shards}
    if len(parts) > 1:
        return [f"{name} is cut into {sorted(parts)} parts on different ranks"]
    found = []
    dtypes = sorted({str(shard.dtype) for shard in shards})
    if len(dtypes) > 1:
        found.append(f"{name} is of dtypes {', '.join(dtypes)} on different ranks")
    missing = sorted(set(range(parts.pop())) - {shard.part for shard in shards})
    if missing and entry.kind.cut_dim is not None:
        found.append(f"no rank holds part {missing[0]} of {name}")
    for shard in shards:
        layout = shard_layout(entry, shape, shard.part, shard.parts)
        expected = (layout.rows, layout.columns)[: len(entry.sizes[0])]
        if shard.shape != expected:
            found.append(f"rank {shard.rank} holds {name} of shape {shard.shape}, not {expected}")
    return found


def _of_destinations(destinations: Sequence[Destination], ranks: set[int]) -> list[str]:
    found = [f"destination rank {d.rank} does not exist" for d in destinations if d.rank not in ranks]
    seen = [d.rank for d in destinations]
    found += [f"rank {rank} is a destination twice" for rank in sorted({r for r in seen if seen.count(r) > 1})]
    found += [f"destination rank {d.rank} wants part {d.part} of {d.parts}" for d in destinations if d.part >= d.parts]
    return found


def plan_violations(plan: ReshardPlan) -> list[str]:
    """Elements of a destination that no transfer writes, or that several do."""
    found = []
    for bucket in plan.buckets:
        filled: dict[tuple[int, str], list[Transfer]] = defaultdict(list)
        for transfer in bucket.transfers:
            filled[transfer.destination, transfer.tensor].append(transfer)
        for index, slots in enumerate(bucket.slots):
            for slot in slots:
                rank = plan.destinations[index].rank
                found += _of_tensor(slot.name, slot.shape, rank, filled.pop((index, slot.name), []))
        found += [f"{tensor} is written at a destination that does not take it" for _, tensor in filled]
    return found


def _of_tensor(name: str, shape: tuple[int, ...], rank: int, transfers: list[Transfer]) -> list[str]:
    overlaps = any(_overlap(a, b) for i, a in enumerate(transfers) for b in transfers[:i])
    written, size = sum(t.rows * t.columns for t in transfers), prod(shape)
    if overlaps:
        return [f"elements of {name} are written twice on rank {rank}"]
    if written != size:
        return [f"{written} of {size} elements of {name} are written on rank {rank}"]
    return []


def _overlap(a: Transfer, b: Transfer) -> bool:
    rows = min(a.to_row + a.rows, b.to_row + b.rows) - max(a.to_row, b.to_row)
    columns = min(a.to_column + a.columns, b.to_column + b.columns) - max(a.to_column, b.to_column)
    return rows > 0 and columns > 0
