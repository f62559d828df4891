"""How long somebody has gone without a sign of life."""

from __future__ import annotations

import time


class Patience:
    """Seconds without a sign, as the one who looks has lived them.

    Who was stopped or suspended itself may find on waking that hours have passed; between two looks no more than
    `longest_gap_s` seconds count, so that the other one has time to wake up too.
    """

    def __init__(self, limit_s: float, longest_gap_s: float) -> None:
        """Begins with a sign."""
        self._limit_s, self._longest_gap_s = limit_s, longest_gap_s
        self._looked_at, self._silent_s = time.monotonic(), 0.0

    def sign(self) -> None:
        """There was a sign of life."""
        self._looked_at, self._silent_s = time.monotonic(), 0.0

    def over(self) -> bool:
        """Look: whether the limit has passed without a sign."""
        now = time.monotonic()
        self._silent_s += min(now - self._looked_at, self._longest_gap_s)
        self._looked_at = now
        return self._silent_s >= self._limit_s
