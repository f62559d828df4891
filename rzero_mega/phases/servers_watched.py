"""What servers do, on the run's timeline and, summed up by role, in a step's metrics."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field

import torch

from rzero_mega.activity import Activity
from rzero_mega.config.placement import Placement
from rzero_mega.config.schema import Config
from rzero_mega.phases.stopwatch import Stopwatch
from rzero_mega.rollout.sglang.pool.server_work import BusyPeriod
from rzero_mega.rollout.sglang.pool.weight_sender import UpdateCosts
from rzero_mega.run.timeline import DRAWING, Devices, Drawn, Span

# What took less is not worth a line: servers that are awake already, and the like.
LEAST_S = 1e-3


@dataclass
class _RoleWork:
    """Of a role's servers together: what updates took; seconds at work, and the slots that they had in these."""

    costs: UpdateCosts = field(default_factory=UpdateCosts)
    seconds: float = 0.0
    tokens: int = 0
    slot_seconds: float = 0.0
    slots_had: float = 0.0

    def add(self, period: BusyPeriod) -> None:
        self.seconds += period.seconds
        self.tokens += period.tokens
        self.slot_seconds += period.slot_seconds
        self.slots_had += period.slots * period.seconds

    def figures(self) -> dict[str, float]:
        """Rates are those of one server while it is at work, in the mean."""
        found = asdict(self.costs)
        if self.seconds:
            found["server_tokens_per_second"] = self.tokens / self.seconds
            found["slots_used"] = self.slot_seconds / self.slots_had
        return found


class ServersWatched:
    """An `Observer`. What servers did stands on the timeline, a track for each of them."""

    def __init__(self, stopwatch: Stopwatch, placement: Placement, gpus: int) -> None:
        """`gpus` are those of a server."""
        self._stopwatch, self._placement, self._gpus = stopwatch, placement, gpus
        self._work: dict[str, _RoleWork] = defaultdict(_RoleWork)

    def measure(self, activity: Activity) -> AbstractContextManager[dict[str, float]]:
        """On the timeline; parking is one of a step's costs too."""
        if activity is Activity.PARK:
            return self._stopwatch.measure(activity.seconds, LEAST_S)
        return self._stopwatch.timeline.measure(activity, least=LEAST_S)

    def updated(self, role: str, costs: UpdateCosts) -> None:
        """Add it up."""
        self._work[role].costs.add(costs)

    def drawn(self, periods: Sequence[BusyPeriod], now: float) -> None:
        """Put them on the timeline, and add them up."""
        epoch = time.time() - now
        self._stopwatch.timeline.add(self._span(period, epoch) for period in periods)
        for period in periods:
            self._work[period.role].add(period)

    def take(self, trained: str) -> dict[str, float]:
        """Figures of what was done since the last call: of the role that is trained, and others with their names."""
        work, self._work = self._work, defaultdict(_RoleWork)
        found = work.pop(trained, _RoleWork()).figures()  # an update's costs stand there where none was made, too
        for role, of_role in work.items():
            found |= {f"{role}_{name}": value for name, value in of_role.figures().items()}
        return found

    def _span(self, period: BusyPeriod, epoch: float) -> Span:
        place = self._placement.servers[period.number]
        counts = Drawn(
            period.draws, period.tokens, period.slots, period.slot_seconds, place.node, place.first_gpu, self._gpus
        )
        track = f"{period.role}-{period.number}"
        return Span(track, DRAWING, epoch + period.began, period.seconds, counts.as_counts())


def devices_of(config: Config) -> Devices:
    """What a phase has; the embedded engine shares the learner's."""
    if not torch.cuda.is_available():
        return Devices(0, 0, 0)
    placement, learner = config.placement, config.learner.processes
    gpus = placement.nodes * placement.gpus_per_node if config.rollout.engine == "sglang" else learner
    return Devices(gpus, placement.gpus_per_node, learner)
