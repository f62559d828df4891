"""What is wrong with a reshard plan, whoever made it."""

from __future__ import annotations

from collections import defaultdict
from math import prod

from rzero_mega.weights.reshard.plan import ReshardPlan, Transfer


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
