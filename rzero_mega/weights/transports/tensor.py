"""Weights inside the request: a CUDA-IPC handle where learner and servers share GPUs, the bytes themselves elsewhere.

On a GPU another process has read a handle, no SGLang server yet.
"""

from __future__ import annotations

import base64
import io
import pickle
from collections.abc import Iterable, Sequence
from multiprocessing.reduction import ForkingPickler
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.transports.parallel import on_every
from rzero_mega.weights.transports.protocol import FLUSH, Server


class TensorTransport:
    """One request per bucket and server, with a payload for each of the server's ranks.

    SGLang takes payloads as pickles. They are written here and never read. With `handles` a CUDA bucket is sent as a
    handle to the learner's memory: the servers must be on its host and see the GPU under the number that the learner
    knows it by. Otherwise the bytes are sent, once per rank.
    """

    needs_session = True

    def __init__(self, handles: bool = False, timeout_s: float | None = None) -> None:
        """`timeout_s` bounds how long a server may take for a bucket; None leaves it to the server's client."""
        self._handles, self._timeout_s = handles, timeout_s

    def send(self, servers: Sequence[Server], buckets: Iterable[Bucket]) -> None:
        """Deliver every bucket to every server; ServerError names the server that failed."""
        for bucket in buckets:
            payload = _payload(bucket, self._handles and bucket.data.is_cuda)

            def deliver(server: Server, payload: str = payload) -> None:
                body = {
                    "serialized_named_tensors": [payload] * server.tp,
                    "load_format": "flattened_bucket",
                    **FLUSH,
                }
                server.post("update_weights_from_tensor", body, self._timeout_s)

            # The buffer behind a handle is used again for the next bucket, so all servers have to be done with it.
            on_every(servers, deliver)

    def close(self) -> None:
        """Nothing stays between two sends."""


def _payload(bucket: Bucket, handle: bool) -> str:
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
    data = bucket.data if handle else _own(bucket.data.cpu())
    content: dict[str, Any] = {"flattened_tensor": data, "metadata": metadata}
    buffer = io.BytesIO()
    pickler = ForkingPickler(buffer) if handle else pickle.Pickler(buffer)
    pickler.dump(content)
    return base64.b64encode(buffer.getbuffer()).decode("ascii")


def _own(data: Tensor) -> Tensor:
    # A pickled view takes all of the memory that it looks at with it.
    return data if data.untyped_storage().nbytes() == data.nbytes else data.clone()
