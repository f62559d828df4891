"""A clock that jumps: hours of an event loop's time pass in seconds."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop that does not wait for a time: it goes there at once."""

    def __init__(self) -> None:
        self._now = 0.0

        loop = self

        class Jumping(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> Any:
                if timeout is None:  # nothing but another thread can go on
                    return super().select(None)
                loop._now += timeout
                return super().select(0)

        super().__init__(Jumping())

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now
