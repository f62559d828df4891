"""When the checkpoints of a training phase are begun, committed and removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rzero_mega import spmd
from rzero_mega.config.schema import CheckpointConfig
from rzero_mega.learner.checkpoints.async_save import PendingSave
from rzero_mega.learner.learner import Learner
from rzero_mega.run import PhaseDirectory


class Checkpoints:
    """At most one checkpoint is on its way to disk; until it is committed, the one before it is the latest.

    Every rank makes the same calls.
    """

    def __init__(
        self, phase: PhaseDirectory, learner: Learner, config: CheckpointConfig, add: Callable[[Path], None]
    ) -> None:
        """Nothing is written before the first step. `add` adds to a checkpoint's folder, on the first rank."""
        self._phase, self._learner, self._config, self._add = phase, learner, config, add
        self._pending: tuple[int, PendingSave] | None = None
        self._last = 0

    def after_step(self, step: int, last: int) -> None:
        """Commit the checkpoint on its way if it is written, and begin one if it is due, as after the step `last`.

        Waits for one that is still being written if the next is due. UserError names the folder that cannot be written.
        """
        if self._pending is not None and self._pending[1].is_written():
            self._commit()
        if step % self._config.every and step != last:
            return
        self._begin(step)
        if not self._config.asynchronous:
            self._commit()

    def now(self, step: int) -> None:
        """Return when the checkpoint after `step` is on disk, due or not: there will be no further step."""
        if self._last != step:
            self._begin(step)
        self._commit()

    def finish(self) -> None:
        """Wait for the checkpoint on its way, and put what stays where it stays."""
        self._commit()
        if self._config.keep_finished:
            spmd.on_rank_0(self._phase.keep_checkpoints)

    def _begin(self, step: int) -> None:
        self._commit()
        staging = spmd.on_rank_0(self._phase.checkpoint_staging, step)
        spmd.on_rank_0(self._add, staging)
        self._pending = step, self._learner.start_save(staging, step)
        self._last = step

    def _commit(self) -> None:
        if self._pending is None:
            return
        (step, save), self._pending = self._pending, None
        spmd.on_all_ranks(save.finish)
        spmd.on_rank_0(self._phase.commit_checkpoint, step, self._config.keep, self._config.keep_every)
