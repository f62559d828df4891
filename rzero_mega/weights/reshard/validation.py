"""Everything that is wrong with a placement, found before a byte moves and reported at once."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.errors import UserError
from rzero_mega.weights.mapping.dense import OUTPUT
from rzero_mega.weights.mapping.regions import shard_contents
from rzero_mega.weights.mapping.table import Entry
from rzero_mega.weights.reshard.placement import Shard, holders_of
from rzero_mega.weights.reshard.plan import Destination
from rzero_mega.weights.shape import ModelShape


def validate(violations: Sequence[str]) -> None:
    """Raise UserError with all violations, if there are any."""
    if violations:
        raise UserError(f"weights cannot be resharded: {'; '.join(violations)}")


def placement_violations(
    entries: Sequence[Entry], shape: ModelShape, placement: Sequence[Shard], destinations: Sequence[Destination]
) -> list[str]:
    """What keeps the shards from covering every tensor of the table, one sentence each."""
    table = {entry.megatron: entry for entry in entries}
    # With tied embeddings over a pipeline the last stage holds a copy of them, which the table does not list.
    holders = holders_of(placement)
    found = [
        f"rank {holders[name][0].rank} holds {name}, which the family's table does not know"
        for name in holders
        if name not in table and not (name == OUTPUT and shape.tied)
    ]
    for name, entry in table.items():
        found += _of_parameter(entry, shape, holders.get(name, []))
    return found + _of_destinations(destinations, {shard.rank for shard in placement})


def _of_parameter(entry: Entry, shape: ModelShape, shards: Sequence[Shard]) -> list[str]:
    name = entry.megatron
    if not shards:
        return [f"no rank holds {name}"]
    counts = {shard.count for shard in shards}
    if len(counts) > 1:
        return [f"{name} is split into {sorted(counts)} shards on different ranks"]
    found = []
    dtypes = sorted({str(shard.dtype) for shard in shards})
    if len(dtypes) > 1:
        found.append(f"{name} is of dtypes {', '.join(dtypes)} on different ranks")
    missing = sorted(set(range(counts.pop())) - {shard.index for shard in shards})
    if missing and entry.kind.shard_dim is not None:
        found.append(f"no rank holds shard {missing[0]} of {name}")
    for shard in shards:
        contents = shard_contents(entry, shape, shard.index, shard.count)
        expected = (contents.rows, contents.columns)[: len(entry.sizes[0])]
        if shard.shape != expected:
            found.append(f"rank {shard.rank} holds {name} of shape {shard.shape}, not {expected}")
    return found


def _of_destinations(destinations: Sequence[Destination], ranks: set[int]) -> list[str]:
    found = [f"destination rank {d.rank} does not exist" for d in destinations if d.rank not in ranks]
    seen = [d.rank for d in destinations]
    found += [f"rank {rank} is a destination twice" for rank in sorted({r for r in seen if seen.count(r) > 1})]
    found += [f"destination rank {d.rank} wants shard {d.tp_rank} of {d.tp}" for d in destinations if d.tp_rank >= d.tp]
    return found
