"""What a transport needs of a server, and what it offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rzero_mega.errors import UserError

if TYPE_CHECKING:
    from rzero_mega.weights.bucket import Bucket

# Prefixes in the cache were computed with the old weights. Emptying the allocator's cache as well, which /flush_cache
# does, takes hundreds of milliseconds and is of no use here.
FLUSH = {"flush_cache": True, "torch_empty_cache": False}


class ServerError(UserError):
    """A server refused, failed or did not answer; the message names the server and quotes its reason."""


class Server(Protocol):
    """One SGLang server (replica), spoken to over HTTP. Every call raises `ServerError` if it does not succeed."""

    @property
    def name(self) -> str:
        """What messages call it, such as "solver replica 1 (http://127.0.0.1:31000)"."""
        ...

    @property
    def tp(self) -> int:
        """Tensor-parallel processes of the server."""
        ...

    @property
    def node(self) -> int:
        """The job's node on which it runs, counted from 0."""
        ...

    def post(self, path: str, body: Mapping[str, Any], timeout_s: float | None = None) -> Any:
        """POST JSON to `path` (without leading slash); the decoded answer. Safe to call from several threads."""
        ...

    def get(self, path: str, timeout_s: float | None = None) -> Any:
        """GET `path`; the decoded answer."""
        ...

    def checksums(self) -> list[dict[str, str]]:
        """Hash of every tensor by the server's own name, one table per tensor-parallel rank, in rank order."""
        ...


class Transport(Protocol):
    """Moves buckets to all servers while they are paused."""

    @property
    def needs_session(self) -> bool:
        """Whether the server takes the weights between begin_weight_update and end_weight_update only."""
        ...

    def send(self, servers: Sequence[Server], buckets: Iterable[Bucket]) -> None:
        """Deliver every bucket to every server; ServerError names the server that failed."""
        ...

    def close(self) -> None:
        """Give up process groups and files."""
        ...
