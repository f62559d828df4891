"""Which draws of a request are no longer needed, once its samples say so. On the first rank alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rzero_mega.rollout.protocol import Decided, Draw, Sample


class NeededDraws:
    """The draws of requests of which nothing is decided yet."""

    def __init__(self, draws: Sequence[Draw], decided: Decided) -> None:
        """All draws of a request lie in a row."""
        self._decided = decided
        rows = [{draw.position: draw for draw in row} for _, row in groupby(draws, key=lambda draw: id(draw.request))]
        self._missing = {position: row for row in rows for position in row}

    def unneeded_after(self, position: int, sample: Sample) -> list[Draw]:
        """What is not needed any more now that this sample is there, and was not before."""
        missing = self._missing[position]
        del missing[position]
        if not missing or not self._decided(sample):
            return []
        unneeded = list(missing.values())
        missing.clear()
        return unneeded
