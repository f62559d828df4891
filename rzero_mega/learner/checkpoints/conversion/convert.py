"""Between a model in Hugging Face format and Megatron's distributed checkpoints, one tensor in memory at a time.

The checkpoint holds weights alone and loads under every layout; a checkpoint of training gives its weights back under
their Hugging Face names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from rzero_mega.atomic import files_below, free_bytes, storage_errors
from rzero_mega.errors import UserError
from rzero_mega.learner.checkpoints.conversion.buffers import MergedReader, one_ahead
from rzero_mega.learner.checkpoints.conversion.compatibility import check_template
from rzero_mega.learner.checkpoints.conversion.stored_tensors import StoredTensor, stored_tensors
from rzero_mega.learner.checkpoints.conversion.streaming import StoredWeights, write_checkpoint
from rzero_mega.learner.checkpoints.conversion.work_folder import WorkFolder
from rzero_mega.run.checksums import Checksums, has_checksums
from rzero_mega.weights.agreement import check_agreement
from rzero_mega.weights.bucket import plan_buckets
from rzero_mega.weights.hf_folder import HfWeights, describe_weights, dtype_named, shard_names, write_index
from rzero_mega.weights.mapping.experts import BIAS
from rzero_mega.weights.model_copy import copy_small_files
from rzero_mega.weights.model_files import CONFIG, model_files
from rzero_mega.weights.safetensors_file import write_safetensors
from rzero_mega.weights.shape import ModelShape, read_shape
from rzero_mega.weights.shard_bytes import SHARD_BYTES

# Bytes of a target's files; a conversion that was killed goes on after the last file that was finished.
PART_BYTES = 1024**3
NAMED_DTYPES = ("bfloat16", "float32")
METADATA = ".metadata"

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Conversion:
    """What was converted: `nbytes` of weights in `tensors` Hugging Face tensors, `to` which format."""

    to: str
    tensors: int
    nbytes: int


def convert(
    source: Path,
    target: Path,
    template: Path | None = None,
    dtype: str | None = None,
    report: Report = lambda _done, _total: None,
    file_bytes: int | None = None,
) -> Conversion:
    """Convert the model `source` into the folder `target`, which appears once it is complete.

    A Hugging Face folder becomes a checkpoint; a checkpoint becomes a Hugging Face folder, with the configuration and
    tokenizer of `template`. Tensors keep their dtype unless `dtype` names another. `report` gets the bytes done and the
    bytes in all; `file_bytes` bounds the files that are written. After a kill the same call goes on.

    Raises:
        UserError: the source or the template is unusable, they do not fit each other (with every difference), the
            target exists, or another conversion to it was begun.
    """
    if dtype not in (None, *NAMED_DTYPES):
        raise UserError(f"--dtype {dtype}: not one of {', '.join(NAMED_DTYPES)}")
    target = target.resolve()
    with storage_errors(target):
        if (source / CONFIG).is_file():
            if template is not None:
                raise UserError(f"--template: {source} has its own {CONFIG}; leave it out")
            return _to_checkpoint(source, target, dtype, report, file_bytes or PART_BYTES)
        if not (source / METADATA).is_file():
            raise UserError(f"{source}: neither a Hugging Face folder ({CONFIG}) nor a checkpoint ({METADATA})")
        if template is None:
            raise UserError(
                "--template: say which Hugging Face folder has the checkpoint's configuration and tokenizer"
            )
        return _to_hf(source, target, template, dtype, report, file_bytes or SHARD_BYTES)


def _to_checkpoint(source: Path, target: Path, dtype: str | None, report: Report, file_bytes: int) -> Conversion:
    shape = read_shape(source)
    settings = {"to": "checkpoint", "--dtype": dtype, "file_bytes": file_bytes}
    files = model_files(source)
    with HfWeights(source) as weights:
        check_agreement(source, weights, shape)
        tensors = [(stored, _merged_dtype(stored, weights, dtype)) for stored in stored_tensors(shape)]
        total = sum(prod(stored.sizes) * found.itemsize for stored, found in tensors)
        reader = MergedReader(weights, shape)
        with WorkFolder(target, settings, files) as work:
            _check_space(work, total)
            write_checkpoint(work, tensors, shape, reader.read, file_bytes, _counter(total, report))
            work.publish()
    return Conversion("Megatron checkpoint", sum(len(stored.entry.hf) for stored, _ in tensors), total)


def _merged_dtype(stored: StoredTensor, weights: HfWeights, dtype: str | None) -> torch.dtype:
    """The dtype in which every part of a Megatron tensor keeps its value, or the one asked for; a bias's is fp32."""
    if stored.entry.megatron.endswith(BIAS):
        return torch.float32
    if dtype is not None:
        return dtype_named(dtype)
    return reduce(torch.promote_types, (weights.slot(name).dtype for name in stored.entry.hf))


def _to_hf(
    source: Path, target: Path, template: Path, dtype: str | None, report: Report, file_bytes: int
) -> Conversion:
    shape = read_shape(template)
    if has_checksums(source):
        advice = "copy it here again, or convert another checkpoint"
        checksums = Checksums.read(source, advice)
        checksums.check(source, checksums.files, advice)
    weights = StoredWeights(source)
    tensors = stored_tensors(shape)
    check_template(source, weights, template, tensors, shape)
    view = _HfView(weights, tensors, shape, dtype)
    shards = plan_buckets(view.described(), file_bytes)
    total = sum(slot.nbytes for slots in shards for slot in slots)
    settings = {"to": "Hugging Face", "--dtype": dtype, "--template": str(template.resolve()), "file_bytes": file_bytes}
    with WorkFolder(target, settings, [*files_below(source), template / CONFIG]) as work:
        _check_space(work, total)
        count = _counter(total, report)
        for file, slots in zip(shard_names(len(shards)), shards, strict=True):
            if work.details(file) is None:
                write_safetensors(work.path / file, slots, one_ahead(view.tensor(slot.name) for slot in slots))
                work.add(file, [])
            count(sum(slot.nbytes for slot in slots))
        copy_small_files(template, work.path)
        write_index(work.path, shards)
        describe_weights(work.path / CONFIG, shards)
        work.publish()
    return Conversion("Hugging Face folder", sum(map(len, shards)), total)


class _HfView:
    """A checkpoint's tensors under their Hugging Face names. Those of one Megatron tensor are asked for in a row."""

    def __init__(
        self, weights: StoredWeights, tensors: Sequence[StoredTensor], shape: ModelShape, dtype: str | None
    ) -> None:
        self._weights, self._tensors, self._shape = weights, tensors, shape
        self._dtype = None if dtype is None else dtype_named(dtype)
        self._stored_of = {name: stored for stored in tensors for name in stored.entry.hf}
        self._last: Mapping[str, Tensor] = {}

    def described(self) -> Iterator[tuple[str, torch.dtype, tuple[int, ...]]]:
        """Name, dtype and shape of every tensor."""
        for stored in self._tensors:
            dtype = self._dtype_of(stored)
            for name, size in zip(stored.entry.hf, stored.entry.sizes, strict=True):
                yield name, dtype, size

    def tensor(self, name: str) -> Tensor:
        """One tensor."""
        if name not in self._last:
            stored = self._stored_of[name]
            full = self._weights.read(stored)
            parts = stored.entry.kind.split(full.to(self._dtype_of(stored)), self._shape)
            self._last = dict(zip(stored.entry.hf, parts, strict=True))
        return self._last[name]

    def _dtype_of(self, stored: StoredTensor) -> torch.dtype:
        if self._dtype is None or stored.entry.megatron.endswith(BIAS):
            return self._weights.dtype(stored)
        return self._dtype


def _check_space(work: WorkFolder, total: int) -> None:
    there = sum(file.stat().st_size for file in files_below(work.path))
    if free_bytes(work.path) < total - there:
        free = free_bytes(work.path) / 1e9
        raise UserError(f"{work.path}: needs {(total - there) / 1e9:.1f} GB, {free:.1f} GB are free; make room")


def _counter(total: int, report: Report) -> Callable[[int], None]:
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        report(done, total)

    report(0, total)
    return add
