"""Checksums of a server's own tensors, computed from the weights on their way to it.

SGLang's `/weights_checker` hashes each tensor of each rank: packed, sharded and padded as the server keeps it. The same
hashes are computed here while buckets pass, without keeping them. A server on CPUs hashes with SHA-256, through which
every byte goes here too, on the host. One on GPUs hashes there (`gpu_hash.py`), and so is hashed here: on the GPU where
the bucket lies, without a copy. Of quantised weights a server hashes something else: they are not compared.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.mapping import entries, hf_sizes
from rzero_mega.weights.safetensors_file import raw_bytes
from rzero_mega.weights.shape import ModelShape
from rzero_mega.weights.transports.protocol import Server
from rzero_mega.weights.verification.gpu_hash import WORD, GpuHash
from rzero_mega.weights.verification.server_tables import PackedTensor, ServerTensor, server_tensors

# The server cuts SHA-256 down to its first 8 bytes.
DIGEST_HEX = 16
NAMED = 3


class Digest(Protocol):
    """The hash of one tensor of a server on one rank, of the parts that it packs."""

    def feed(self, index: int, part: Tensor) -> None:
        """Take in the part of that place."""
        ...

    def hexdigest(self) -> str:
        """As the server reports it."""
        ...


@dataclass
class _HostDigest:
    """SHA-256; what comes before its turn waits."""

    sha: Any = field(default_factory=hashlib.sha256)
    fed: int = 0
    waiting: dict[int, bytes] = field(default_factory=dict)

    def feed(self, index: int, part: Tensor) -> None:
        data = raw_bytes(part)
        if index != self.fed:
            self.waiting[index] = bytes(data)
            return
        self._hash(data)
        while self.fed in self.waiting:
            self._hash(self.waiting.pop(self.fed))

    def hexdigest(self) -> str:
        return str(self.sha.hexdigest()[:DIGEST_HEX])

    def _hash(self, data: bytes | memoryview) -> None:
        self.sha.update(data)
        self.fed += 1


class _GpuDigest:
    """The hash of servers on GPUs; `nbytes` are those of the parts, all but the last a number of whole words."""

    def __init__(self, nbytes: Sequence[int]) -> None:
        self._offsets = [0, *accumulate(nbytes)]
        self._hash = GpuHash(self._offsets[-1])

    def feed(self, index: int, part: Tensor) -> None:
        self._hash.feed(self._offsets[index], part)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class ExpectedChecksums:
    """Checksums that a server of `tp` ranks on `device`, which keeps weights in `dtype`, must report after one update.

    `device` is "cpu" or "cuda". `nbytes` have been hashed so far, in `seconds`; what a GPU has only begun is waited for
    when checksums are asked for.
    """

    def __init__(self, shape: ModelShape, tp: int, dtype: torch.dtype, device: str = "cpu") -> None:
        self._shape, self._tp, self._dtype, self.device = shape, tp, dtype, device
        self._sizes = hf_sizes(entries(shape))
        self._ranks = [{t.name: self._digest(t) for t in server_tensors(shape)} for _ in range(tp)]
        self._place = {
            packed.name: (tensor.name, index, packed)
            for tensor in server_tensors(shape)
            for index, packed in enumerate(tensor.packed)
        }
        self._seen: set[str] = set()
        self.seconds, self.nbytes = 0.0, 0

    def watch(self, buckets: Iterable[Bucket]) -> Iterator[Bucket]:
        """The buckets as they are, each after its tensors have been hashed."""
        for bucket in buckets:
            for name, tensor in bucket.tensors():
                self.add(name, tensor)
            yield bucket

    def _digest(self, tensor: ServerTensor) -> Digest:
        if self.device == "cpu":
            return _HostDigest()
        nbytes = [self._shard_elements(packed) * self._dtype_of(packed).itemsize for packed in tensor.packed]
        if any(size % WORD for size in nbytes[:-1]):
            raise UserError(f"{tensor.name}: a part of it ends within a word; set weights.verify.checksums_every to 0")
        return _GpuDigest(nbytes)

    def _dtype_of(self, packed: PackedTensor) -> torch.dtype:
        return torch.float32 if packed.in_fp32 else self._dtype

    def _shard_elements(self, packed: PackedTensor) -> int:
        size = list(self._sizes[packed.name])
        if packed.sharding is not None:
            size[packed.sharding.dim] = len(packed.sharding.shard(self._shape, self._tp, 0, self.device))
        return math.prod(size)

    def add(self, name: str, full: Tensor) -> None:
        """Hash a tensor under its Hugging Face name; UserError if the server has no place for it, or came twice."""
        if name not in self._place:
            raise UserError(f"{name}: no tensor of a {self._shape.family} server holds it; its checksum is unknown")
        if name in self._seen:
            raise UserError(f"{name}: sent twice in one update")
        self._seen.add(name)
        began = time.perf_counter()
        tensor, index, packed = self._place[name]
        full = full.to(device=self._where(full), dtype=self._dtype_of(packed))
        for rank, digests in enumerate(self._ranks):
            digests[tensor].feed(index, self._shard(packed, full, rank))
        self.nbytes += full.nbytes
        self.seconds += time.perf_counter() - began

    def _where(self, full: Tensor) -> torch.device:
        """Where a tensor is hashed: for servers on CPUs on the host, for those on GPUs on a GPU if there is one."""
        if self.device == "cpu":
            return torch.device("cpu")
        return torch.device("cuda") if torch.cuda.is_available() and not full.is_cuda else full.device

    def _shard(self, packed: PackedTensor, full: Tensor, rank: int) -> Tensor:
        if packed.sharding is None:
            return full
        dim, held = packed.sharding.dim, packed.sharding.shard(self._shape, self._tp, rank, self.device)
        start, length = min(held.start, full.size(dim)), len(held)
        shard = full.narrow(dim, start, min(length, full.size(dim) - start))
        padding = list(full.shape)
        padding[dim] = length - shard.size(dim)
        return shard if padding[dim] == 0 else torch.cat([shard, full.new_zeros(padding)], dim)

    def by_rank(self) -> list[dict[str, str]]:
        """Checksum of every tensor of the server, one dictionary per rank; UserError names what never passed."""
        missing = [name for name in self._place if name not in self._seen]
        if missing:
            raise UserError(f"{_some(missing)}: not among the weights that were sent")
        return [{name: digest.hexdigest() for name, digest in digests.items()} for digests in self._ranks]

    def unlike(self, reported: Sequence[Mapping[str, str]]) -> frozenset[str]:
        """The server's tensors whose checksums differ on any rank, or that one side alone knows."""
        expected = self.by_rank()
        names = {name for rank in (*expected, *reported) for name in rank}
        if len(reported) != len(expected):
            return frozenset(names)
        pairs = list(zip(expected, reported, strict=True))
        return frozenset(name for name in names if any(right.get(name) != found.get(name) for right, found in pairs))

    def differences(self, reported: Sequence[Mapping[str, str]], apart: AbstractSet[str] = frozenset()) -> list[str]:
        """What the server's checksums, one mapping per rank in rank order, say that differs; empty if all agree.

        Nothing is said of the server's tensors `apart`.
        """
        expected = [{name: value for name, value in rank.items() if name not in apart} for rank in self.by_rank()]
        reported = [{name: value for name, value in rank.items() if name not in apart} for rank in reported]
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


@dataclass(frozen=True)
class ServersHash:
    """Which hash a server's checksums are: that of `device`; None where they cannot be compared, for the `reason`."""

    device: str | None
    reason: str = ""


def servers_hash(server: Server) -> ServersHash:
    """How the server hashes, by what it says of itself."""
    info = server.get("server_info")
    device, quantization = info.get("device"), info.get("quantization")
    if quantization:
        return ServersHash(None, f"{server.name}: checksums are not compared: {quantization} weights are dequantised")
    if device not in ("cpu", "cuda"):
        return ServersHash(None, f"{server.name}: checksums are not compared: a server on {device} hashes differently")
    return ServersHash(device)


def check_checksums(
    server: Server, expected: ExpectedChecksums, version: str, apart: AbstractSet[str] = frozenset()
) -> ChecksumResult:
    """Compare the server's checksums with those of what was sent; UserError names server and tensors.

    Nothing is said of the server's tensors `apart`.
    """
    hashed = servers_hash(server)
    if hashed.device != expected.device:
        return ChecksumResult(False, hashed.reason or f"{server.name}: a server on {hashed.device} hashes differently")
    reported = server.checksums()
    lines = expected.differences(reported, apart)
    if lines:
        raise UserError(f"{server.name}: weights of version {version} differ from what was sent: {_some(lines, '; ')}")
    return ChecksumResult(True, f"{server.name}: {sum(map(len, reported))} tensors agree with version {version}")


def _some(items: Sequence[str], separator: str = ", ") -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return separator.join(items[:NAMED]) + more
