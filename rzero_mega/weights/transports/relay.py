"""Several ranks hand a model out, each to the servers beside it; what they have for these goes through the first rank.

Where learner and servers share the GPUs of several nodes, a handle to a bucket means something on the bucket's own node
alone. So one rank of each node has the whole stream, and tells the first one, which alone speaks to servers, how each
bucket is to be read on its node: some kilobytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from rzero_mega import spmd
from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.quantization.scheme import Scheme, quantize_stream
from rzero_mega.weights.transports.payload import payload_of
from rzero_mega.weights.transports.protocol import Server


class Relay:
    """What the senders of other nodes have for servers, on its way to the first rank, bucket by bucket.

    All senders have the same buckets in a pass. One's buffer is kept until the first rank, done with it, asks for the
    next one. Whatever fails there, it has to take its buckets to the end.
    """

    def __init__(self, senders: Mapping[int, int], handles: bool, scheme: Scheme | None) -> None:
        """`senders` by node; `handles` and `scheme` as the first rank's transport sends its own buckets."""
        self.senders = dict(senders)
        self.scheme, self._handles = scheme, handles
        self._theirs: dict[int, tuple[bool, str]] = {}

    def through(self, buckets: Iterator[Bucket]) -> Iterator[Bucket]:
        """A pass on this rank: the buckets for whoever sends them, on the first rank; other senders' are used up."""
        if spmd.rank() == 0:
            return self.collect(buckets)
        if spmd.rank() in self.senders.values():
            self.offer(buckets)
        return buckets

    def collect(self, buckets: Iterable[Bucket]) -> Iterator[Bucket]:
        """On the first rank: its buckets as they are, each once every sender has said how its own is read."""
        others = {node: rank for node, rank in self.senders.items() if rank}
        for bucket in buckets:
            for rank in others.values():
                spmd.send(None, rank)
            self._theirs = {node: spmd.receive(rank) for node, rank in others.items()}
            yield bucket
        for rank in others.values():
            spmd.send(None, rank)

    def offer(self, buckets: Iterable[Bucket]) -> None:
        """On another sender: tell the first rank of each bucket how servers of this node read it, or what is wrong."""
        held: Tensor | None = None
        for bucket in buckets:
            spmd.receive(0)
            answer, held = self._prepared(bucket)
            spmd.send(answer, 0)
        spmd.receive(0)
        del held

    def payload(self, server: Server, own: str) -> str:
        """Of the present bucket for a server, `own` being that of this node; UserError with what its sender says."""
        if self.senders.get(server.node, 0) == 0:
            return own
        good, text = self._theirs[server.node]
        if not good:
            raise UserError(f"node {server.node}: {text}")
        return text

    def _prepared(self, bucket: Bucket) -> tuple[tuple[bool, str], Tensor | None]:
        try:
            if self.scheme is not None:
                (bucket,) = quantize_stream([bucket], self.scheme)
            payload, data = payload_of(bucket, self._handles)
        except UserError as error:
            return (False, str(error)), None
        return (True, payload), data
