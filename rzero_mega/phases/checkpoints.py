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
        self, directory: PhaseDirectory, learner: Learner, config: CheckpointConfig, add_files: Callable[[Path], None]
    ) -> None:
        """Nothing is written before the first step. Rank 0 calls `add_files` with every checkpoint's folder."""
        self._directory, self._learner, self._config, self._add_files = directory, learner, config, add_files
        self._pending: tuple[int, PendingSave] | None = None
        self._last_step = 0

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
