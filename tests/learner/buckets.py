"""Models of a size for tests with gradients in several buckets, as those of real models are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

from rzero_mega.learner.megatron import compat

compat.install()

from megatron.core.distributed import DistributedDataParallelConfig  # noqa: E402

from rzero_mega.learner.megatron import model  # noqa: E402

ELEMENTS = 5_000


@contextmanager
def small_buckets(elements: int = ELEMENTS) -> Iterator[None]:
    """A context in which models are built with buckets of about so many elements; Megatron's own have 40 million."""
    smaller = partial(DistributedDataParallelConfig, bucket_size=elements)
    with patch.object(model, "DistributedDataParallelConfig", smaller):
        yield
