"""Weights inside the request: a CUDA-IPC handle where learner and servers share GPUs, the bytes themselves elsewhere.

On a GPU another process has read a handle, no SGLang server yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.transports.parallel import on_every
from rzero_mega.weights.transports.payload import payload_of
from rzero_mega.weights.transports.protocol import FLUSH, Server
from rzero_mega.weights.transports.relay import Relay


class TensorTransport:
    """One request per bucket and server, with a payload for each of the server's ranks.

    SGLang takes payloads as pickles. They are written here and never read. With `handles` a bucket is sent as a handle
    to the learner's memory on a GPU: the servers must be on its host, or on that of another sender (`relay`), and see
    the GPU under the number that the learner knows it by. Otherwise the bytes are sent, once per rank.
    """

    needs_session = True

    def __init__(self, handles: bool = False, timeout_s: float | None = None, relay: Relay | None = None) -> None:
        """`timeout_s` bounds how long a server may take for a bucket; None leaves it to the server's client.

        With a `relay` the buckets that are sent must come through its `collect`.
        """
        self._handles, self._timeout_s, self._relay = handles, timeout_s, relay

    def send(self, servers: Sequence[Server], buckets: Iterable[Bucket]) -> None:
        """Deliver every bucket to every server; ServerError names the server that failed."""
        for bucket in buckets:
            # The buffer behind a handle is used again for the next bucket, so all servers have to be done with it.
            own, _held = payload_of(bucket, self._handles)

            def deliver(server: Server, own: str = own) -> None:
                payload = own if self._relay is None else self._relay.payload(server, own)
                body = {
                    "serialized_named_tensors": [payload] * server.tp,
                    "load_format": "flattened_bucket",
                    **FLUSH,
                }
                server.post("update_weights_from_tensor", body, self._timeout_s)

            on_every(servers, deliver)

    def close(self) -> None:
        """Nothing stays between two sends."""
