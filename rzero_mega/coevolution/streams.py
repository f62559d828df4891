"""Random streams by name: every draw of a run is derived from (seed, iteration, phase, step, item)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b


def derive_seed(*parts: str | int) -> int:
    """Hash the parts to an integer in [0, 2**64), the same on every machine and in every Python version.

    Each part is tagged with its type and prefixed with its length, so that ("ab", "c"), ("a", "bc") and (1,), ("1",)
    name different streams.
    """
    digest = blake2b(digest_size=8)
    for part in parts:
        data = str(int(part)).encode() if isinstance(part, int) else part.encode("utf-8", "surrogatepass")
        digest.update(b"i" if isinstance(part, int) else b"s")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return int.from_bytes(digest.digest(), "big")


def permutation(n: int, *parts: str | int) -> list[int]:
    """A random order of 0 .. n - 1, drawn from the stream that the parts name.

    Sorting by hashes instead of shuffling with a generator keeps the order independent of any library's version.
    """
    keys: Sequence[int] = [derive_seed(*parts, index) for index in range(n)]
    return sorted(range(n), key=lambda index: (keys[index], index))
