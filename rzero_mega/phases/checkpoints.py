"""When the checkpoints of a training phase are begun, committed and removed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rzero_mega import spmd
from rzero_mega.config.schema import CheckpointConfig
from rzero_mega.learner.checkpoints.async_save import PendingSave
from rzero_mega.learner.learner import Learner
from rzero_mega.phases.checkpoint_pace import CheckpointPace
from rzero_mega.run import PhaseDirectory


class Checkpoints:
    """At most one checkpoint is on its way to disk; until it is committed, the one before it is the latest.

    Every rank makes the same calls.
    """

    def __init__(
        self,
        directory: PhaseDirectory,
        learner: Learner,
        config: CheckpointConfig,
        add_files: Callable[[Path], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is written before the first step. Rank 0 calls `add_files` with every checkpoint's folder."""
        self._directory, self._learner, self._config, self._add_files = directory, learner, config, add_files
        self._pace, self._clock = CheckpointPace(config.share), clock
        self._pending: tuple[int, PendingSave] | None = None
        self._last_step = 0

    def after_step(self, step: int, last: int) -> bool:
        """Commit the checkpoint on its way if it is written, and begin one if it is due, as after the step `last`.

        Waits for one that is still being written if a step must have one. Whether one was begun. UserError names the
        folder that cannot be written.
        """
        began = self._clock()
        if self._pending is not None and self._pending[1].is_written():
            self._commit()
        due = self._is_due(step, last, began)
        if due:
            self._begin(step)
            self._pace.begin(began)
            if not self._config.asynchronous:
                self._commit()
        self._pace.wait(self._clock() - began)
        return due

    def save_now(self, step: int) -> None:
        """Have the checkpoint after `step` on disk before it returns, due or not: there will be no further step."""
        if self._last_step != step:
            self._begin(step)
        self._commit()

    def finish(self) -> None:
        """Commit the checkpoint on its way, and move those that outlive the phase to where they stay."""
        self._commit()
        if self._config.keep_finished:
            spmd.on_rank_0(self._directory.keep_checkpoints)

    def _is_due(self, step: int, last: int, now: float) -> bool:
        """By `every`, or by time, of which rank 0's clock tells: those of several ranks might not agree."""
        config = self._config
        if step == last:
            return True
        if config.every is not None:
            return step % config.every == 0
        if config.keep_every is not None and step % config.keep_every == 0:
            return True
        # One that is still being written would be waited for.
        return self._pending is None and spmd.on_rank_0(self._pace.is_due, now)

    def _begin(self, step: int) -> None:
        self._commit()
        staging = spmd.on_rank_0(self._directory.checkpoint_staging, step)
        spmd.on_rank_0(self._add_files, staging)
        self._pending = step, self._learner.start_save(staging, step)
        self._last_step = step

    def _commit(self) -> None:
        if self._pending is None:
            return
        (step, save), self._pending = self._pending, None
        spmd.on_all_ranks(save.finish)
        spmd.on_rank_0(self._directory.commit_checkpoint, step, self._config.keep, self._config.keep_every)
