"""The model that a training phase hands on: a Hugging Face folder, which all ranks write and hash."""

from __future__ import annotations

from pathlib import Path

from rzero_mega import spmd
from rzero_mega.activity import Activity
from rzero_mega.atomic import files_below
from rzero_mega.config.schema import AverageConfig
from rzero_mega.learner.learner import Learner
from rzero_mega.phases.context import RunContext
from rzero_mega.phases.start import StartFolders
from rzero_mega.run import PhaseDirectory
from rzero_mega.run.checksums import FileHash
from rzero_mega.weights.average import averaged
from rzero_mega.weights.model_parts import write_model
from rzero_mega.weights.sources import tensors_of

MODEL = "model"


def write_weights(
    ctx: RunContext, learner: Learner, folder: Path, average: tuple[float, Path] | None = None
) -> dict[str, FileHash]:
    """Write the learner's weights, averaged with a share of a folder's, whole or not at all; what the files hold.

    For all ranks.
    """
    parted = learner.parted_weights(ctx.config.weights)
    stream = tensors_of(parted.source)
    tensors = stream if average is None else averaged(stream, *average)
    written = write_model(folder, parted.parts, stream, tensors, ctx.base)
    return {file: FileHash(*found) for file, found in written.items()}


def shared_hashes(folder: Path) -> dict[str, FileHash]:
    """What the files of a folder hold, of which each rank reads some. For all ranks."""
    names = spmd.on_rank_0(lambda: [file.relative_to(folder).as_posix() for file in files_below(folder)])
    mine: dict[str, FileHash] = {}
    spmd.on_all_ranks(lambda: mine.update({name: FileHash.of(folder / name) for name in spmd.share(names)}))
    return {name: found for one in spmd.all_gather(mine) for name, found in one.items()}


class PhaseModel:
    """What the learner's weights become, or what `training.average` makes of them. Every rank makes the same calls."""

    def __init__(
        self,
        ctx: RunContext,
        directory: PhaseDirectory,
        learner: Learner,
        average: AverageConfig,
        start: StartFolders,
    ) -> None:
        self._ctx, self._learner, self._average = ctx, learner, average
        self._path = directory.path / MODEL
        self._anchor = start.base if average.anchor == "base" and start.base is not None else start.policy
        self._files: dict[str, FileHash] = {}

    def write(self) -> None:
        """Write the folder with the present weights, whole or not at all."""
        with self._ctx.stopwatch.timeline.measure(Activity.WRITE_MODEL):
            self._files = write_weights(self._ctx, self._learner, self._path, (self._average.share, self._anchor))

    def files(self) -> dict[str, FileHash]:
        """What the folder's files hold, which an earlier attempt may have written."""
        self._files = self._files or shared_hashes(self._path)
        return self._files
