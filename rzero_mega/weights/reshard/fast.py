"""Fast executor: the plan's transfers point to point, the next bucket on its way while the receiver uses one.

A receiver holds two buckets. What is contiguous at its place is received right there; rectangles narrower than their
tensor go through a staging buffer, as large as those rectangles of one bucket.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rzero_mega import spmd
from rzero_mega.weights.bucket import Bucket, Slot
from rzero_mega.weights.reshard.plan import BucketTransfers, Destination, ReshardPlan, Transfer


@dataclass(frozen=True)
class Message:
    """Transfers of one bucket from one rank to another, sent as one run of `nbytes` bytes in this order.

    `start` is where the run begins in the destination's bucket if it is contiguous there, and None if it is not.
    """

    source: int
    destination: int
    transfers: tuple[Transfer, ...]
    nbytes: int
    start: int | None


@dataclass
class _InFlight:
    """A bucket under way: a receiver's buffer, the staging of what is not contiguous there, and the pending operations.

    `sent` keeps what is being sent in memory until they are over.
    """

    data: Tensor | None
    staged: list[tuple[Message, Tensor]]
    pending: list[Any]
    sent: list[Tensor]


@torch.no_grad()
def stream_buckets(
    plan: ReshardPlan, weights: Mapping[str, Tensor], rank: int, device: torch.device
) -> Iterator[Bucket]:
    """The buckets of this rank's destination, one after another; nothing on a rank that only sends.

    `weights` are this rank's shards by Megatron name. Every rank that sends or receives has to exhaust the iterator.
    """
    mine = next((i for i, d in enumerate(plan.destinations) if d.rank == rank), None)
    buffers = _Buffers(plan, mine, device)
    messages = [bucket_messages(of_rank(bucket, plan.destinations, rank)) for bucket in plan.buckets]
    in_flight = _start(plan, 0, messages[0], weights, rank, mine, buffers)
    for number, bucket in enumerate(plan.buckets):
        following = None
        if number + 1 < len(plan.buckets) and mine is None:
            following = _start(plan, number + 1, messages[number + 1], weights, rank, mine, buffers)
        _finish(in_flight, bucket, mine)
        if number + 1 < len(plan.buckets) and following is None:
            following = _start(plan, number + 1, messages[number + 1], weights, rank, mine, buffers)
        if in_flight.data is not None and mine is not None and bucket.slots[mine]:
            yield Bucket(in_flight.data, bucket.slots[mine])
        if following is not None:
            in_flight = following


class _Buffers:
    """Two buffers that take turns."""

    def __init__(self, plan: ReshardPlan, mine: int | None, device: torch.device) -> None:
        sizes = [_nbytes(bucket.slots[mine]) for bucket in plan.buckets] if mine is not None else []
        count = min(2, len(sizes))
        self._turns = [torch.empty(max(sizes), dtype=torch.uint8, device=device) for _ in range(count)]
        self._sizes = sizes

    def of(self, number: int) -> Tensor:
        return self._turns[number % len(self._turns)][: self._sizes[number]]


def _nbytes(slots: Sequence[Slot]) -> int:
    return slots[-1].stop if slots else 0


def _start(
    plan: ReshardPlan,
    number: int,
    messages: Sequence[Message],
    weights: Mapping[str, Tensor],
    rank: int,
    mine: int | None,
    buffers: _Buffers,
) -> _InFlight:
    """Post this rank's sends and receives of a bucket, and copy what it holds itself.

    First all ranks meet: who passes the bucket before on, to a disk or a server, may take longer than a collective may.
    """
    spmd.barrier()
    bucket = plan.buckets[number]
    in_flight = _InFlight(buffers.of(number) if mine is not None else None, [], [], [])
    operations = []
    for message in messages:
        receiver = plan.destinations[message.destination].rank
        if message.source == receiver:
            continue
        if message.source == rank:
            in_flight.sent.append(_pack(message, weights))
            operations.append(dist.P2POp(dist.isend, in_flight.sent[-1], receiver))
        elif receiver == rank:
            assert in_flight.data is not None
            if message.start is not None:
                target = in_flight.data[message.start : message.start + message.nbytes]
            else:
                target = torch.empty(message.nbytes, dtype=torch.uint8, device=in_flight.data.device)
                in_flight.staged.append((message, target))
            operations.append(dist.P2POp(dist.irecv, target, message.source))
    in_flight.pending = dist.batch_isend_irecv(operations) if operations else []
    if in_flight.data is not None and mine is not None:
        _copy_own(bucket, weights, rank, mine, in_flight.data)
    return in_flight


def _finish(in_flight: _InFlight, bucket: BucketTransfers, mine: int | None) -> None:
    """Wait for the bucket, and put what was staged into place."""
    for operation in in_flight.pending:
        operation.wait()
    in_flight.sent.clear()
    if in_flight.data is None or mine is None:
        return
    tensors = dict(Bucket(in_flight.data, bucket.slots[mine]).tensors())
    for message, staged in in_flight.staged:
        offset = 0
        for transfer in message.transfers:
            target = _target(tensors, transfer)
            end = offset + transfer.nbytes
            target.copy_(staged[offset:end].view(target.dtype).view(transfer.rows, transfer.columns))
            offset = end
    in_flight.staged.clear()


def of_rank(bucket: BucketTransfers, destinations: Sequence[Destination], rank: int) -> BucketTransfers:
    """The bucket with those transfers alone that the rank sends or receives: of a model's million it has a share."""
    mine = {index for index, destination in enumerate(destinations) if destination.rank == rank}
    return replace(bucket, transfers=tuple(t for t in bucket.transfers if t.source == rank or t.destination in mine))


def bucket_messages(bucket: BucketTransfers) -> list[Message]:
    """The transfers of a bucket as messages: one per contiguous run at the destination, and one for all the rest."""
    by_pair: dict[tuple[int, int], list[Transfer]] = defaultdict(list)
    for transfer in bucket.transfers:
        by_pair[transfer.source, transfer.destination].append(transfer)
    messages = []
    for (source, destination), transfers in by_pair.items():
        slots = {slot.name: slot for slot in bucket.slots[destination]}
        runs: list[list[Transfer]] = []
        rest: list[Transfer] = []
        end = -1
        for transfer in sorted(transfers, key=lambda t: (slots[t.tensor].start, t.to_row)):
            begin = _byte_offset(transfer, slots[transfer.tensor])
            if begin is None:
                rest.append(transfer)
            elif runs and begin == end:
                runs[-1].append(transfer)
            else:
                runs.append([transfer])
            end = begin + transfer.nbytes if begin is not None else end
        for run in runs:
            start = _byte_offset(run[0], slots[run[0].tensor])
            messages.append(Message(source, destination, tuple(run), sum(t.nbytes for t in run), start))
        if rest:
            messages.append(Message(source, destination, tuple(rest), sum(t.nbytes for t in rest), None))
    return messages


def _byte_offset(transfer: Transfer, slot: Slot) -> int | None:
    """Where the transfer begins in the bucket if it is contiguous there."""
    width = slot.shape[1] if len(slot.shape) > 1 else 1
    if transfer.columns != width and transfer.rows > 1:
        return None
    return slot.start + (transfer.to_row * width + transfer.to_column) * transfer.itemsize


def _pack(message: Message, weights: Mapping[str, Tensor]) -> Tensor:
    """The message's bytes; without a copy where they lie together in one shard."""
    sources = [_source(weights, transfer) for transfer in message.transfers]
    if len(sources) == 1 and sources[0].is_contiguous():
        return sources[0].view(-1).view(torch.uint8)
    packed = torch.empty(message.nbytes, dtype=torch.uint8, device=sources[0].device)
    offset = 0
    for source, transfer in zip(sources, message.transfers, strict=True):
        end = offset + transfer.nbytes
        packed[offset:end].view(source.dtype).view(source.shape).copy_(source)
        offset = end
    return packed


def _copy_own(bucket: BucketTransfers, weights: Mapping[str, Tensor], rank: int, mine: int, data: Tensor) -> None:
    tensors = dict(Bucket(data, bucket.slots[mine]).tensors())
    for transfer in bucket.transfers:
        if transfer.source == rank and transfer.destination == mine:
            _target(tensors, transfer).copy_(_source(weights, transfer))


def _source(weights: Mapping[str, Tensor], transfer: Transfer) -> Tensor:
    return _rectangle(weights[transfer.parameter], transfer.row, transfer.column, transfer)


def _target(tensors: Mapping[str, Tensor], transfer: Transfer) -> Tensor:
    return _rectangle(tensors[transfer.tensor], transfer.to_row, transfer.to_column, transfer)


def _rectangle(tensor: Tensor, row: int, column: int, transfer: Transfer) -> Tensor:
    flat = tensor if tensor.dim() > 1 else tensor[:, None]
    return flat[row : row + transfer.rows, column : column + transfer.columns]
