"""A bucket as SGLang takes it inside a request: a pickle of a handle to the learner's memory, or of the bytes."""

from __future__ import annotations

import base64
import io
import pickle
from multiprocessing.reduction import ForkingPickler
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from rzero_mega.weights.bucket import Bucket


def payload_of(bucket: Bucket, handle: bool) -> tuple[str, Tensor]:
    """The payload for each of a server's ranks, and the memory behind it, to be kept until they have read it.

    A `handle` needs a GPU: what lies on the host goes there first.
    """
    metadata = [
        # The server lets this class through its own unpickler, and its own class does not have to be imported.
        SimpleNamespace(
            name=slot.name,
            shape=slot.shape,
            dtype=slot.dtype,
            start_idx=slot.start,
            end_idx=slot.stop,
            numel=slot.nbytes,
        )
        for slot in bucket.slots
    ]
    data = bucket.data.cuda() if handle else _own(bucket.data.cpu())
    content: dict[str, Any] = {"flattened_tensor": data, "metadata": metadata}
    buffer = io.BytesIO()
    pickler = ForkingPickler(buffer) if handle else pickle.Pickler(buffer)
    pickler.dump(content)
    return base64.b64encode(buffer.getbuffer()).decode("ascii"), data


def _own(data: Tensor) -> Tensor:
    # A pickled view takes all of the memory that it looks at with it.
    return data if data.untyped_storage().nbytes() == data.nbytes else data.clone()
