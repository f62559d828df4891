"""A model's folder written by all ranks at once, each of its safetensors files by one of them.

Its files are, byte for byte, those that one process writes (`hf_folder.write_hf_folder`): what lies in which file
follows from the names, dtypes and shapes of the tensors, and not from how many ranks there are. Who writes a file
hashes its bytes on the way, so that none is read again. The folder must lie on a file system that all ranks share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from rzero_mega import spmd
from rzero_mega.atomic import (
    aside_of,
    files_below,
    fsync_file,
    removed_on_failure,
    replace_folder,
    sha256,
    storage_errors,
)
from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import Slot
from rzero_mega.weights.hf_folder import (
    HEADER_BYTES,
    Described,
    describe_weights,
    plan_shards,
    shard_names,
    write_index,
)
from rzero_mega.weights.model_copy import copy_small_files
from rzero_mega.weights.model_files import CONFIG
from rzero_mega.weights.safetensors_file import write_safetensors
from rzero_mega.weights.sources import WeightSource

Written = dict[str, tuple[str, int]]
"""Hex SHA-256 and bytes of files, by name."""


@dataclass(frozen=True)
class Part:
    """A safetensors file of the folder, and the rank that writes it."""

    file: str
    rank: int
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class PartedWeights:
    """Weights on their way into a folder. `source` gives every rank the tensors of its parts, in their order."""

    parts: tuple[Part, ...]
    source: WeightSource


def plan_parts(tensors: Iterable[Described], ranks: int) -> tuple[Part, ...]:
    """The files of a stream of such tensors, spread evenly over the ranks, and so over nodes.

    Files that follow each other are of ranks that do, as the layers are that these hold under pipeline parallelism.
    """
    shards = plan_shards(tensors)
    files = zip(shard_names(len(shards)), shards, strict=True)
    return tuple(Part(file, number * ranks // len(shards), slots) for number, (file, slots) in enumerate(files))


def write_model(
    path: Path,
    parts: Sequence[Part],
    stream: Iterable[object],
    tensors: Iterable[tuple[str, Tensor]],
    template: Path,
) -> Written:
    """Write a complete model folder, put it at `path` in place of what was there, and say what its files hold.

    Every rank calls this with its own `tensors`, those of its parts in their order, which come out of `stream`; rank 0
    adds every other file of `template`. A kill leaves what was there, or a leftover for `atomic.recover`.

    Raises:
        UserError: the storage failed on any rank, or the ranks don't share the file system; nothing is left then.
    """
    aside = spmd.on_rank_0(_begin, path, parts, template)
    mine: Written = {}
    # Nobody writes any more when it is removed: each rank has said how it ended, or one has died, which ends all.
    with removed_on_failure(aside, by_me=spmd.rank() == 0):
        spmd.all_ranks_write(stream, _write_mine, path, aside, parts, iter(tensors), mine)
        written = {file: hashed for one in spmd.all_gather(mine) for file, hashed in one.items()}
        return spmd.on_rank_0(_complete, path, aside, written)


def _begin(path: Path, parts: Sequence[Part], template: Path) -> Path:
    """The folder under its temporary name, with everything but the weights."""
    aside = aside_of(path)
    with storage_errors(path), removed_on_failure(aside):
        aside.mkdir(parents=True)
        copy_small_files(template, aside)
        shards = [part.slots for part in parts]
        write_index(aside, shards)
        describe_weights(aside / CONFIG, shards)
    return aside


def _write_mine(
    path: Path, aside: Path, parts: Sequence[Part], tensors: Iterator[tuple[str, Tensor]], written: Written
) -> None:
    """Write this rank's files, flush them to disk, and note what they hold."""
    for part in (part for part in parts if part.rank == spmd.rank()):
        digest, file = hashlib.sha256(), aside / part.file
        with storage_errors(path):
            write_safetensors(file, part.slots, _on_cpu(part, tensors), HEADER_BYTES, digest)
            fsync_file(file)
            written[part.file] = digest.hexdigest(), file.stat().st_size


def _on_cpu(part: Part, tensors: Iterator[tuple[str, Tensor]]) -> Iterator[Tensor]:
    for slot in part.slots:
        name, tensor = next(tensors)
        if (name, tensor.dtype, tuple(tensor.shape)) != (slot.name, slot.dtype, slot.shape):
            raise ValueError(f"{part.file}: {name} {tensor.dtype} {tuple(tensor.shape)} where {slot} is expected")
        yield tensor.detach().to("cpu")


def _complete(path: Path, aside: Path, written: Written) -> Written:
    """Put the folder in its place; UserError if a file that another rank has written is not there."""
    with storage_errors(path):
        _check_shared(path, aside, written)
        rest = [file for file in files_below(aside) if file.name not in written]
        small = {file.name: (sha256(file), file.stat().st_size) for file in rest}
        replace_folder(aside, path)
    return {**written, **small}


def _check_shared(path: Path, aside: Path, written: Mapping[str, tuple[str, int]]) -> None:
    for file, (_, size) in written.items():
        found = -1
        with suppress(FileNotFoundError):
            found = (aside / file).stat().st_size
        if found != size:
            raise UserError(
                f"{path / file}: was written by another rank and isn't seen whole by the first; run.root must be a "
                "folder that all nodes share"
            )
