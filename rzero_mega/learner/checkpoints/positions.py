"""Where the distributed optimizer's state of a parameter lies in what Megatron loads of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

from rzero_mega.learner.megatron.model import Model


@contextmanager
def positions_without_padding(model: Model) -> Iterator[None]:
    """A context in which a buffer's table of parameters counts no padding between its buckets.

    Megatron-core (0.16.1, 0.19.2) fills every bucket up to a multiple of 128 and of the data-parallel ranks. The
    `fully_reshardable` format has room for the state without that, and then looks for a parameter by its position with
    it: main weights and moments of all buckets but the first come to where another parameter's lie.
    """
    buffers = model.buffers
    tables = [buffer.param_index_map for buffer in buffers]
    for buffer, table in zip(buffers, tables, strict=True):
        padding = [bucket.grad_data.numel() - bucket.numel_unpadded for bucket in buffer.buckets]
        before = [0, *accumulate(padding)]
        buffer.param_index_map = {
            parameter: (start - before[bucket], end - before[bucket], bucket)
            for parameter, (start, end, bucket) in table.items()
        }
    try:
        yield
    finally:
        for buffer, table in zip(buffers, tables, strict=True):
            buffer.param_index_map = table
