"""A stream of buckets checked on its way: exactly the model's tensors, and no server sees a wrong one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.mapping import entries, hf_sizes
from rzero_mega.weights.shape import ModelShape


def checked_stream(buckets: Iterable[Bucket], shape: ModelShape) -> Iterator[Bucket]:
    """The buckets as they are.

    UserError names the first tensor that is unknown, came twice or has another shape, before its bucket is passed on,
    and one that is missing at the end of the stream.
    """
    sizes = hf_sizes(entries(shape))
    missing = dict.fromkeys(sizes)
    for bucket in buckets:
        for slot in bucket.slots:
            if slot.name not in sizes:
                raise UserError(f"tensor {slot.name} is not one of the model's; send a checkpoint of the same model")
            if slot.name not in missing:
                raise UserError(f"tensor {slot.name} came twice")
            if slot.shape != sizes[slot.name]:
                raise UserError(
                    f"tensor {slot.name} has shape {list(slot.shape)}, the model's has {list(sizes[slot.name])}"
                )
            del missing[slot.name]
        yield bucket
    if missing:
        raise UserError(f"tensor {next(iter(missing))} is missing from the update ({len(missing)} missing in all)")
