"""Checksums of a server's own tensors, computed from the weights on their way to it.

SGLang's `/weights_checker` hashes each tensor of each rank: fused, cut and filled up as the server keeps it. The same
hashes are computed here while buckets pass, without keeping them: every byte goes once through SHA-256. A server on
GPUs uses another hash function, so that the check exists for CPU servers alone and says so elsewhere.
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
from rzero_mega.weights.verification.server_tables import Part, ServerTensor, server_tensors

# The server cuts SHA-256 down to its first 8 bytes.
DIGEST_HEX = 16
NAMED = 3


@dataclass
class _Digest:
    """The hash of one tensor on one rank; pieces that come before their turn wait."""

    tensor: ServerTensor
    sha: Any = field(default_factory=hashlib.sha256)
    fed: int = 0
    waiting: dict[int, bytes] = field(default_factory=dict)

    def feed(self, index: int, piece: memoryview) -> None:
        if index != self.fed:
            self.waiting[index] = bytes(piece)
            return
        self._hash(piece)
        while self.fed in self.waiting:
            self._hash(self.waiting.pop(self.fed))

    def _hash(self, piece: bytes | memoryview) -> None:
        self.sha.update(piece)
        self.fed += 1


class Fingerprint:
    """Expected checksums of a server with `tp` ranks that keeps weights in `dtype`, for one update."""

    def __init__(self, shape: ModelShape, tp: int, dtype: torch.dtype) -> None:
        self._shape, self._tp, self._dtype = shape, tp, dtype
        self._ranks = [{t.name: _Digest(t) for t in server_tensors(shape)} for _ in range(tp)]
        self._place = {
            part.name: (tensor.name, index, part)
            for tensor in server_tensors(shape)
            for index, part in enumerate(tensor.parts)
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
        tensor, index, part = self._place[name]
        full = full.to(device="cpu", dtype=self._dtype)
        for rank, digests in enumerate(self._ranks):
            digests[tensor].feed(index, raw_bytes(self._piece(part, full, rank)))

    def _piece(self, part: Part, full: Tensor, rank: int) -> Tensor:
        if part.cut is None:
            return full
        axis, length = part.cut.axis, part.cut.size(self._shape, self._tp) // self._tp
        start = min(rank * length, full.size(axis))
        piece = full.narrow(axis, start, min(length, full.size(axis) - start))
        missing = list(full.shape)
        missing[axis] = length - piece.size(axis)
        return piece if missing[axis] == 0 else torch.cat([piece, full.new_zeros(missing)], axis)

    def expected(self) -> list[dict[str, str]]:
        """Checksum of every tensor of the server, one dictionary per rank; UserError names what never passed."""
        missing = [name for name in self._place if name not in self._seen]
        if missing:
            raise UserError(f"{_some(missing)}: not among the weights that were sent")
        return [{name: d.sha.hexdigest()[:DIGEST_HEX] for name, d in digests.items()} for digests in self._ranks]

    def differences(self, reported: Sequence[Mapping[str, str]]) -> list[str]:
        """What the server's checksums, one mapping per rank in rank order, say that differs; empty if all agree."""
        expected = self.expected()
        if len(reported) != len(expected):
            return [f"the server reports {len(reported)} ranks and not {len(expected)}"]
        parts = {tensor.name: [part.name for part in tensor.parts] for tensor in server_tensors(self._shape)}
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
                lines.append(f"rank {rank} {name} (made of {_some(parts[name])}){holds}")
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


def check_checksums(server: Server, fingerprint: Fingerprint, version: str) -> ChecksumResult:
    """Compare the server's checksums with the fingerprint of what was sent; UserError names server and tensors."""
    reason = checksums_unavailable(server)
    if reason is not None:
        return ChecksumResult(False, reason)
    reported = server.checksums()
    lines = fingerprint.differences(reported)
    if lines:
        raise UserError(f"{server.name}: weights of version {version} differ from what was sent: {_some(lines, '; ')}")
    return ChecksumResult(True, f"{server.name}: {sum(map(len, reported))} tensors agree with version {version}")


def _some(items: Sequence[str], separator: str = ", ") -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return separator.join(items[:NAMED]) + more
