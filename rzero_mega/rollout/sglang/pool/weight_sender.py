"""How weights get from the learner's buckets to the servers of a role. On the first rank alone."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.quantization.scheme import Scheme, quantize_stream
from rzero_mega.weights.shape import ModelShape
from rzero_mega.weights.transports.protocol import Server, Transport
from rzero_mega.weights.transports.session import update_servers
from rzero_mega.weights.verification.checksums import ExpectedChecksums, check_checksums
from rzero_mega.weights.verification.stream import checked_stream

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightSender:
    """The transport, and the form that servers of `tp` processes want: `dtype`, or FP8 by a `scheme`.

    Checksums are to be compared after every `checksums_every`-th update; 0: never.
    """

    transport: Transport
    scheme: Scheme | None
    dtype: torch.dtype
    tp: int
    checksums_every: int

    def send(
        self, servers: Sequence[Server], buckets: Iterable[Bucket], shape: ModelShape, version: str, check: bool
    ) -> None:
        """Update all servers to the tensors of `shape` in the buckets; `check` compares checksums afterwards.

        UserError names the tensor or server that is wrong; a ServerError among them may be the death of a server.
        """
        stream = checked_stream(buckets, shape)
        compare = None
        if check:
            expected = ExpectedChecksums(shape, self.tp, self.dtype)
            stream = expected.watch(stream)

            def compare(server: Server) -> None:
                _compare(server, expected, version)

        if self.scheme is not None:
            stream = quantize_stream(stream, self.scheme)
        update_servers(servers, self.transport, stream, version, compare)

    def check_loaded(
        self, servers: Sequence[Server], buckets: Iterable[Bucket], shape: ModelShape, version: str
    ) -> None:
        """Compare what servers loaded by themselves with the buckets. UserError names what differs."""
        expected = ExpectedChecksums(shape, self.tp, self.dtype)
        for _ in expected.watch(buckets):
            pass
        for server in servers:
            _compare(server, expected, version)

    def close(self) -> None:
        """Give up what the transport holds."""
        self.transport.close()


def _compare(server: Server, expected: ExpectedChecksums, version: str) -> None:
    """Compare checksums (see `check_checksums`); where that is not possible, log why."""
    result = check_checksums(server, expected, version)
    if not result.available:
        _log.info("%s", result.detail)
