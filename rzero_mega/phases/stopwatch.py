"""Seconds by what they were spent on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from rzero_mega.run.timeline import Timeline


@dataclass
class Stopwatch:
    """Seconds by what they were spent on, since the last `take`; the timeline has when."""

    timeline: Timeline = field(default_factory=partial(Timeline, None))
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, what: str, least: float = 0.0) -> Iterator[dict[str, float]]:
        """Add the time spent inside the block, under a name such as `train_seconds`.

        The timeline has it, with the counts that the block fills in, where it took no less than `least` seconds.
        """
        began = time.perf_counter()
        try:
            with self.timeline.measure(what.removesuffix("_seconds"), least=least) as counts:
                yield counts
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - began

    def take(self) -> dict[str, float]:
        """Seconds by name; starts anew."""
        taken, self.seconds = self.seconds, {}
        return taken
