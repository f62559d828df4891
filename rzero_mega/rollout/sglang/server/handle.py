"""What users of a server need of it, wherever it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from rzero_mega.rollout.sglang.server.client import SglangClient


class ServerHandle(Protocol):
    """One server that was started, on this machine or another. Whoever starts it has to stop it."""

    @property
    def log(self) -> Path:
        """Where its output goes."""
        ...

    @property
    def where(self) -> str:
        """Its address, or where it is to run as long as that is not known."""
        ...

    def client(self, name: str, timeout_s: float) -> SglangClient:
        """A client of the server; UserError if its address is not known, which it is once it has been ready."""
        ...

    def alive(self) -> bool:
        """Whether it runs or is about to, as far as is known."""
        ...

    def ready(self) -> bool:
        """Whether it takes requests now."""
        ...

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the server takes requests. UserError if it ends first, or does not get there in time."""
        ...

    def reason(self) -> str:
        """Why it ended: the most telling line of its log."""
        ...

    def stop(self) -> None:
        """End the server at once. Can be called again."""
        ...
