"""Checksums of a server's own tensors, computed from the weights on their way to it.

SGLang's `/weights_checker` hashes each tensor of each rank: packed, sharded and padded as the server keeps it. The same
hashes are computed here while buckets pass, without keeping them: every byte goes once through SHA-256. A server on
GPUs uses another hash function, so the check exists for CPU servers alone and says so elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.safetensors_file import raw_bytes
from rzero_mega.weights.shape import ModelShape
from rzero_mega.weights.transports.protocol import Server
from rzero_mega.weights.verification.server_tables import PackedTensor, ServerTensor, server_tensors

# The server cuts SHA-256 down to its first 8 bytes.
DIGEST_HEX = 16
NAMED = 3


@dataclass
class _Digest:
    """The hash of one tensor on one rank; what comes before its turn waits."""

    tensor: ServerTensor
    sha: Any = field(default_factory=hashlib.sha256)
    fed: int = 0
    waiting: dict[int, bytes] = field(default_factory=dict)

    def feed(self, index: int, data: memoryview) -> None:
        if index != self.fed:
            self.waiting[index] = bytes(data)
            return
        self._hash(data)
        while self.fed in self.waiting:
            self._hash(self.waiting.pop(self.fed))

    def _hash(self, data: bytes | memoryview) -> None:
        self.sha.update(data)
        self.fed += 1


class ExpectedChecksums:
    """Checksums that a server of `tp` ranks, which keeps weights in `dtype`, must report after one update."""

    def __init__(self, shape: ModelShape, tp: int, dtype: torch.dtype) -> None:
        self._shape, self._tp, self._dtype = shape, tp, dtype
        self._ranks = [{t.name: _Digest(t) for t in server_tensors(shape)} for _ in range(tp)]
        self._place = {
            packed.name: (tensor.name, index, packed)
            for tensor in server_tensors(shape)
            for index, packed in enumerate(tensor.packed)
        }
        self._seen: set[str] = set()

    def watch(self, buckets: Iterable[Bucket]) -> Iterator[Bucket]:
        """The buckets as they are, each after its tensors have been hashed."""
        for bucket in buckets:
            for name, tensor in bucket.tensors():
                self.add(name, tensor)
            yield bucket

    def add(self, name: str, full: Tensor) -> None:
        """Hash a tensor under its Hugging Face name; UserError if the server has no place for it, or came twice."""
        if name not in self._place:
            raise UserError(f"{name}: no tensor of a {self._shape.family} server holds it; its checksum is unknown")
        if name in self._seen:
            raise UserError(f"{name}: sent twice in one update")
        self._seen.add(name)
        tensor, index, packed = self._place[name]
        full = full.to(device="cpu", dtype=self._dtype)
        for rank, digests in enumerate(self._ranks):
            digests[tensor].feed(index, raw_bytes(self._shard(packed, full, rank)))

    def _shard(self, packed: PackedTensor, full: Tensor, rank: int) -> Tensor:
        if packed.sharding is None:
            return full
        dim, length = packed.sharding.dim, packed.sharding.size(self._shape, self._tp) // self._tp
        start = min(rank * length, full.size(dim))
        shard = full.narrow(dim, start, min(length, full.size(dim) - start))
        padding = list(full.shape)
        padding[dim] = length - shard.size(dim)
        return shard if padding[dim] == 0 else torch.cat([shard, full.new_zeros(padding)], dim)

    def by_rank(self) -> list[dict[str, str]]:
        """Checksum of every tensor of the server, one dictionary per rank; UserError names what never passed."""
        missing = [name for name in self._place if name not in self._seen]
        if missing:
            raise UserError(f"{_some(missing)}: not among the weights that were sent")
        return [{name: d.sha.hexdigest()[:DIGEST_HEX] for name, d in digests.items()} for digests in self._ranks]

    def differences(self, reported: Sequence[Mapping[str, str]]) -> list[str]:
        """What the server's checksums, one mapping per rank in rank order, say that differs; empty if all agree."""
        expected = self.by_rank()
        if len(reported) != len(expected):
            return [f"the server reports {len(reported)} ranks and not {len(expected)}"]
        packed = {tensor.name: [one.name for one in tensor.packed] for tensor in server_tensors(self._shape)}
        lines = []
        for rank, (right, found) in enumerate(zip(expected, reported, strict=True)):
            owners = {digest: name for name, digest in right.items()}
            for name in sorted(right.keys() - found.keys()):
                lines.append(f"rank {rank} has no {name}")
            for name in sorted(found.keys() - right.keys()):
                lines.append(f"rank {rank} has {name}, for which nothing was sent")
            for name in (name for name in right if name in found and found[name] != right[name]):
                owner = owners.get(found[name])
                holds = f"; it holds the values of {owner}" if owner else ""
                lines.append(f"rank {rank} {name} (made of {_some(packed[name])}){holds}")
        return lines


@dataclass(frozen=True)
class ChecksumResult:
    """`available` False means that nothing was compared, for the reason in `detail`, which is meant for the log."""

    available: bool
    detail: str


def checksums_unavailable(server: Server) -> str | None:
    """Why this server's checksums cannot be compared, or None where they can."""
    info = server.get("server_info")
    if info.get("device") != "cpu":
        return f"{server.name}: checksums are not compared: a server on {info.get('device')} uses another hash function"
    if info.get("quantization"):
        return f"{server.name}: checksums are not compared: {info['quantization']} weights are hashed dequantised"
    return None


def check_checksums(server: Server, expected: ExpectedChecksums, version: str) -> ChecksumResult:
    """Compare the server's checksums with those of what was sent; UserError names server and tensors."""
    reason = checksums_unavailable(server)
    if reason is not None:
        return ChecksumResult(False, reason)
    reported = server.checksums()
    lines = expected.differences(reported)
    if lines:
        raise UserError(f"{server.name}: weights of version {version} differ from what was sent: {_some(lines, '; ')}")
    return ChecksumResult(True, f"{server.name}: {sum(map(len, reported))} tensors agree with version {version}")


def _some(items: Sequence[str], separator: str = ", ") -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return separator.join(items[:NAMED]) + more
