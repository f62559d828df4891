"""Megatron's distributed checkpoint format, one tensor at a time.

Its files are torch's: they are written part by part, and read box by box.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, create_default_global_save_plan
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter, _StorageInfo, _StoragePrefix
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import (
    LoadPlan,
    ReadItem,
    SavePlan,
    SavePlanner,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list
from torch.distributed.checkpoint.storage import WriteResult

from rzero_mega.errors import UserError, first_line
from rzero_mega.learner.checkpoints.conversion.buffers import Scratch, one_ahead
from rzero_mega.learner.checkpoints.conversion.stored_tensors import StoredTensor
from rzero_mega.learner.checkpoints.conversion.work_folder import WorkFolder
from rzero_mega.learner.checkpoints.safe_files import check_files, write_common
from rzero_mega.weights.shape import ModelShape

Read = Callable[[StoredTensor, torch.dtype], Tensor]


class _Writer(FileSystemWriter):
    def storage_meta(self) -> StorageMeta:
        """Without the random name and the path of this attempt: the same weights give the same bytes."""
        return StorageMeta()


class _InOrder(SavePlanner):
    """Gives the next tensor when the next one is written."""

    def __init__(self, tensors: Iterator[Tensor]) -> None:
        self._tensors = tensors

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        assert write_item.tensor_data is not None
        return next(self._tensors).reshape(write_item.tensor_data.chunk.sizes)

    def set_up_planner(self, *_args: Any, **_kwargs: Any) -> None: ...

    def create_local_plan(self) -> SavePlan:
        raise NotImplementedError("the parts are planned by their writer")

    def create_global_plan(self, all_plans: list[SavePlan]) -> Any:
        raise NotImplementedError("the parts are planned by their writer")

    def finish_plan(self, new_plan: SavePlan) -> SavePlan:
        return new_plan


def write_checkpoint(
    work: WorkFolder,
    tensors: Sequence[tuple[StoredTensor, torch.dtype]],
    shape: ModelShape,
    read: Read,
    part_bytes: int,
    done: Callable[[int], None],
) -> None:
    """Write a checkpoint of weights alone: files of at most `part_bytes` (or one tensor), then what describes them.

    `read` gives the full Megatron tensor in a dtype; it need not be valid longer than until the next call but
    one. `done` gets the bytes of every finished part.
    """
    writer = _Writer(work.path)
    items = [_write_item(stored, dtype) for stored, dtype in tensors]
    by_index = {item.index: pair for item, pair in zip(items, tensors, strict=True)}
    results: list[WriteResult] = []
    for number, part in enumerate(_parts(items, part_bytes)):
        file = f"__{number}_0.distcp"
        if work.details(file) is None:
            plan = SavePlan(part, storage_data=_StoragePrefix(f"__{number}_"))
            planner = _InOrder(one_ahead(read(*by_index[item.index]) for item in part))
            written = {result.index: result.storage_data for result in writer.write_data(plan, planner).wait()}
            work.add(file, [(written[item.index].offset, written[item.index].length) for item in part])
        results += [_result(item, file, *place) for item, place in zip(part, work.details(file) or (), strict=True)]
        done(sum(_nbytes(item) for item in part))
    write_common(work.path, {"shape": asdict(shape)})
    _, metadata = create_default_global_save_plan([SavePlan(items)])
    writer.finish(metadata, [results])


def _write_item(stored: StoredTensor, dtype: torch.dtype) -> WriteItem:
    offsets = torch.Size(stored.offsets)
    data = TensorWriteData(
        chunk=ChunkStorageMetadata(offsets, torch.Size(stored.sizes)),
        properties=TensorProperties(dtype=dtype),
        size=torch.Size(stored.whole),
    )
    return WriteItem(MetadataIndex(stored.key, offsets), WriteItemType.SHARD, tensor_data=data)


def _nbytes(item: WriteItem) -> int:
    assert item.tensor_data is not None
    return prod(item.tensor_data.chunk.sizes) * item.tensor_data.properties.dtype.itemsize


def _parts(items: Sequence[WriteItem], limit: int) -> list[list[WriteItem]]:
    parts: list[list[WriteItem]] = []
    size = 0
    for item in items:
        if not parts or size + _nbytes(item) > limit:
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += _nbytes(item)
    return parts


def _result(item: WriteItem, file: str, offset: int, length: int) -> WriteResult:
    return WriteResult(item.index, length, _StorageInfo(file, offset, length))


class _IntoTensor(DefaultLoadPlanner):
    def __init__(self, target: Tensor) -> None:
        super().__init__()
        self._target = target

    def resolve_tensor(self, read_item: ReadItem) -> Tensor:
        bounds = zip(read_item.dest_offsets, read_item.lengths, strict=True)
        return self._target[tuple(slice(start, start + length) for start, length in bounds)]

    def commit_tensor(self, read_item: ReadItem, tensor: Tensor) -> None: ...


class StoredWeights:
    """The tensors of a checkpoint, of whatever layout it was saved under; optimizer state is left aside.

    Nothing is unpickled before `check_files` has found that it is plain data.
    """

    def __init__(self, folder: Path) -> None:
        """UserError names a file that is missing, damaged or holds anything but plain data."""
        self._folder = folder
        self.common = check_files(folder)
        self._reader = FileSystemReader(folder)
        metadata = self._reader.read_metadata()
        self._reader.set_up_storage_reader(metadata, is_coordinator=True)
        self.tensors: dict[str, TensorStorageMetadata] = {
            key: entry
            for key, entry in metadata.state_dict_metadata.items()
            if isinstance(entry, TensorStorageMetadata)
        }
        self._chunks: dict[tuple[str, tuple[int, ...]], list[ChunkStorageMetadata]] = {}
        self._scratch = Scratch()

    def dtype(self, stored: StoredTensor) -> torch.dtype:
        """The dtype that a tensor is stored in."""
        return self.tensors[stored.key].properties.dtype

    def read(self, stored: StoredTensor) -> Tensor:
        """The full Megatron tensor of an entry, padding rows included, valid until the next call but one.

        UserError names it if it is damaged.
        """
        description = self.tensors[stored.key]
        sizes = (*stored.sizes[: stored.stacked], *description.size[stored.stacked :])
        target = self._scratch.tensor(sizes, description.properties.dtype)
        box = ChunkStorageMetadata(torch.Size(stored.offsets), torch.Size(sizes))
        chunks = replace(description, chunks=self._chunks_of(stored))
        items = create_read_items_for_chunk_list(stored.key, chunks, [box])
        if sum(prod(item.lengths) for item in items) != target.numel():
            raise UserError(f"{self._folder / '.metadata'}: the parts of {stored.key} do not make up the whole tensor")
        try:
            self._reader.read_data(LoadPlan(items), _IntoTensor(target)).wait()
        except OSError:
            raise
        except Exception as error:  # torch raises whatever the damaged bytes led it to
            raise UserError(f"{self._folder}: {stored.key} is not readable: {first_line(error)}") from None
        return target.reshape(sizes[stored.stacked :])

    def _chunks_of(self, stored: StoredTensor) -> list[ChunkStorageMetadata]:
        """The chunks at one place of the stacked axes: looking through those of all layers each time takes long."""
        if (stored.key, stored.offsets[: stored.stacked]) not in self._chunks:
            found: dict[tuple[str, tuple[int, ...]], list[ChunkStorageMetadata]] = defaultdict(list)
            for chunk in self.tensors[stored.key].chunks:
                bounds = zip(chunk.offsets[: stored.stacked], chunk.sizes, strict=False)
                for place in product(*(range(start, start + size) for start, size in bounds)):
                    found[stored.key, place].append(chunk)
            self._chunks.update(found)
        return self._chunks.get((stored.key, stored.offsets[: stored.stacked]), [])
