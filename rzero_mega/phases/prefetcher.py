"""Where a phase's training gets its rollouts: drawn for each step, or one step ahead of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from rzero_mega import spmd
from rzero_mega.atomic import read_json, write_json
from rzero_mega.errors import UserError
from rzero_mega.phases.sample_json import plain, read_sample
from rzero_mega.rollout.protocol import Sample
from rzero_mega.weights.adapters import Adapters, adapters_in
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.sources import WeightSource

AHEAD_FILE = "rollouts_ahead.json"


@dataclass(frozen=True)
class Rollouts:
    """One step's responses, the rollouts of one prompt next to each other, with their rewards.

    `scales` are factors of their advantages; None leaves these as they are.
    """

    samples: Sequence[Sample]
    rewards: Sequence[float]
    metrics: Mapping[str, float]
    scales: Sequence[float] | None = None

    def staleness(self, step: int) -> float:
        """Largest number of steps by which the weights that drew a sample are older than those that `step` trains."""
        return float(max(step - 1 - sample.oldest_version for sample in self.samples))


@dataclass(frozen=True)
class RolloutsAhead:
    """rollouts_ahead.json in a checkpoint: what is drawn already for the next step."""

    step: int
    rollouts: Rollouts

    def as_json(self) -> dict[str, Any]:
        """The content of the file."""
        return {"step": self.step, **asdict(self.rollouts, dict_factory=plain)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RolloutsAhead:
        """KeyError, TypeError, ValueError, AttributeError or OverflowError if it is malformed."""
        samples = [read_sample(values) for values in data["samples"]]
        rewards = [float(reward) for reward in data["rewards"]]
        metrics = {str(name): float(value) for name, value in data["metrics"].items()}
        scales = data.get("scales")
        rollouts = Rollouts(samples, rewards, metrics, None if scales is None else [float(scale) for scale in scales])
        return cls(int(data["step"]), rollouts)


class LockableWeights(WeightSource):
    """The learner's weights for an engine; locked while they change: whoever wants them then gets a UserError."""

    def __init__(self, source: WeightSource) -> None:
        self._source = source
        self.locked = False

    def check(self) -> None:
        """UserError while they are locked."""
        if self.locked:
            raise UserError(
                "a server had to be replaced while rollouts were drawn ahead, and the weights it needs are no longer "
                "the learner's; run the same command again: it goes on from the last checkpoint"
            )

    def __iter__(self) -> Iterator[Bucket]:
        self.check()
        return iter(self._source)

    @property
    def adapters(self) -> Adapters | None:
        """Those of the source, locked as it is."""
        found = adapters_in(self._source)
        return None if found is None else replace(found, source=_LockedWith(self, found.source))


@dataclass(frozen=True)
class _LockedWith:
    weights: LockableWeights
    source: WeightSource

    def __iter__(self) -> Iterator[Bucket]:
        self.weights.check()
        return iter(self.source)


class RolloutPrefetcher:
    """Rollouts step by step.

    With `ahead` 1 those of step n + 1 are drawn while step n trains, by the weights before that step: in `thread`, or
    before the training, when those of step n are taken, where the engine shares the learner's processes and no thread
    is given; the rollouts are the same either way. All ranks make the same calls.
    """

    def __init__(
        self,
        roll_out: Callable[[int], Rollouts],
        ahead: int,
        last: int,
        weights: LockableWeights,
        thread: ThreadPoolExecutor | None,
    ) -> None:
        """`roll_out(step)` draws a step's rollouts; `last` is the last step; `weights` are locked while a thread draws.

        The thread gets a process group of its own where there are several ranks.
        """
        self._roll_out, self._ahead, self._last = roll_out, ahead, last
        self._weights, self._thread = weights, thread
        self._group: dist.ProcessGroup | None = spmd.new_group() if ahead and thread else None
        self._drawn: RolloutsAhead | None = None
        self._following: RolloutsAhead | None = None

    def take(self, step: int) -> Rollouts:
        """The rollouts to train `step` on. What draws in this thread draws here and nowhere else."""
        drawn = self._drawn
        rollouts = drawn.rollouts if drawn is not None and drawn.step == step else self._roll_out(step)
        if self._ahead and self._thread is None and step != self._last:
            self._following = RolloutsAhead(step + 1, self._roll_out(step + 1))
        return rollouts

    @contextmanager
    def drawing_ahead(self, step: int) -> Iterator[None]:
        """A context to train `step` in: on the way out the next step's rollouts are there, if there is such a step."""
        if self._thread is None or not self._ahead or step == self._last:
            yield
            self._drawn, self._following = self._following, None
            return
        self._weights.locked = True
        future: Future[Rollouts] = self._thread.submit(self._roll_out_in_thread, step + 1)
        try:
            yield
        except Exception:
            # The thread must not go on talking to servers while the error is on its way to the user.
            wait([future])
            raise
        self._drawn = RolloutsAhead(step + 1, future.result())
        self._weights.locked = False

    def save(self, folder: Path) -> None:
        """Write the rollouts that are there already into a checkpoint's folder; rank 0 calls it."""
        if self._drawn is not None:
            write_json(folder / AHEAD_FILE, self._drawn.as_json())

    def load(self, folder: Path, fit: Callable[[Rollouts], bool] = lambda _: True) -> None:
        """Go on with what `save` left there, if anything that does `fit`. UserError if the file is malformed."""
        drawn = spmd.on_rank_0(_read_if_there, folder / AHEAD_FILE)
        self._drawn = drawn if drawn is not None and fit(drawn.rollouts) else None

    def _roll_out_in_thread(self, step: int) -> Rollouts:
        with spmd.use_group(self._group):
            return self._roll_out(step)


def _read_if_there(path: Path) -> RolloutsAhead | None:
    if not path.is_file():
        return None
    found = read_json(path)
    try:
        return RolloutsAhead.from_json(found)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path}: malformed ({error!r}); remove {path.parent} to go on without it") from None
