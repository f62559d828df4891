"""Models in Hugging Face format: reading tensors by name, writing a folder as a stream of shards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import FileIO
from math import prod
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import Slot
from rzero_mega.weights.further_layers import without_further_layers
from rzero_mega.weights.mapping.experts import HF_BIAS
from rzero_mega.weights.model_copy import copy_small_files
from rzero_mega.weights.model_files import CONFIG, INDEX, SINGLE, weight_files, weight_map
from rzero_mega.weights.safetensors_file import Contents, SafetensorsWriter, raw_bytes, read_slots
from rzero_mega.weights.shard_bytes import SHARD_BYTES

Described = tuple[str, torch.dtype, tuple[int, ...]]
"""Name, dtype and shape of a tensor."""

# Room for about two thousand names; a shard also ends where its header is full.
HEADER_BYTES = 256 * 1024
# transformers can hold all experts of a layer in one tensor: [experts, 2 * ffn, hidden] and [experts, hidden, ffn].
_FUSED_EXPERTS = re.compile(r"(?P<layer>.*\.mlp\.experts)\.(?P<what>gate_up_proj|down_proj)")


class HfWeights:
    """The tensors of a folder, read one at a time. Only safetensors are read: nothing is unpickled.

    Experts have the names of split ones (`...mlp.experts.3.gate_proj.weight`), also where a file holds them fused.
    Tensors are copies: no file is mapped into memory, so that what has been read does not stay resident.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, tuple[FileIO, dict[str, Slot]]] = {}
        self._file_of = self._with_split_experts(_file_of_tensors(folder))

    def __enter__(self) -> HfWeights:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for file, _ in self._open.values():
            file.close()
        self._open.clear()

    def names(self) -> list[str]:
        """Names of all tensors."""
        return sorted(self._file_of)

    def tensor(self, name: str) -> Tensor:
        """One tensor; UserError names it if the folder lacks it."""
        slot = self.slot(name)
        tensor = torch.empty(slot.shape, dtype=slot.dtype)
        self._fill(name, 0, raw_bytes(tensor))
        return tensor

    def read_rows(self, name: str, first: int, rows: Tensor) -> None:
        """Fill contiguous `rows` with the tensor's from number `first` on, cast to their dtype if it is another."""
        slot = self.slot(name)
        if rows.dtype == slot.dtype:
            self._fill(name, first * rows[0].nbytes, raw_bytes(rows))
            return
        read = torch.empty(rows.shape, dtype=slot.dtype)
        self._fill(name, first * read[0].nbytes, raw_bytes(read))
        rows.copy_(read)

    def slot(self, name: str) -> Slot:
        """Dtype and shape of a tensor, and where its bytes begin in its file; UserError as `tensor`."""
        return self._find(name)[1]

    def _fill(self, name: str, start: int, target: memoryview) -> None:
        """Read the bytes of a tensor from number `start` on."""
        file, slot = self._find(name)
        file.seek(slot.start + start)
        while target:
            count = file.readinto(target)
            if not count:
                raise UserError(f"{self._folder / self._file_of[name]}: cut short while it was read")
            target = target[count:]

    def _find(self, name: str) -> tuple[FileIO, Slot]:
        file = self._file_of.get(name)
        if file is None:
            raise UserError(f"{self._folder}: no tensor {name}; the checkpoint does not match its config.json")
        opened, slots = self._slots(file)
        if name not in slots:
            raise UserError(f"{self._folder / file}: no tensor {name}, though {INDEX} says so")
        return opened, slots[name]

    def _slots(self, file: str) -> tuple[FileIO, dict[str, Slot]]:
        if file not in self._open:
            path = self._folder / file
            slots = [part for slot in read_slots(path) for part in split_experts(slot)]
            self._open[file] = open(path, "rb", buffering=0), {slot.name: slot for slot in slots}  # noqa: SIM115
        return self._open[file]

    def _with_split_experts(self, promised: dict[str, str]) -> dict[str, str]:
        """Which file holds which tensor, experts one by one; `promised` is what the index says."""
        fused = {file for name, file in promised.items() if _FUSED_EXPERTS.fullmatch(name)}
        found = {name: file for name, file in promised.items() if not _FUSED_EXPERTS.fullmatch(name)}
        for file in fused:
            found.update(dict.fromkeys(self._slots(file)[1], file))
        return found


def split_experts(slot: Slot) -> list[Slot]:
    """Where the tensors of single experts lie in a fused one; any other tensor is left as it is."""
    match = _FUSED_EXPERTS.fullmatch(slot.name)
    if match is None or len(slot.shape) != 3:
        return [slot]
    names = ("gate_proj", "up_proj") if match["what"] == "gate_up_proj" else ("down_proj",)
    experts, rows, columns = slot.shape
    part = replace(slot, shape=(rows // len(names), columns))
    return [
        replace(
            part,
            name=f"{match['layer']}.{expert}.{name}.weight",
            start=slot.start + (expert * len(names) + number) * part.nbytes,
        )
        for expert in range(experts)
        for number, name in enumerate(names)
    ]


def _file_of_tensors(folder: Path) -> dict[str, str]:
    files = weight_files(folder)
    if files == [SINGLE]:
        return {slot.name: SINGLE for slot in read_slots(folder / SINGLE)}
    return weight_map(folder)


def write_hf_folder(folder: Path, tensors: Iterable[tuple[str, Tensor]], template: Path) -> None:
    """Write a complete model folder: the tensors of the stream, and every other file of `template` (tokenizer, config).

    Every tensor goes to disk as it comes; memory holds none of them. The caller makes the folder appear atomically.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy_small_files(template, folder)
    shards: list[tuple[Slot, ...]] = []
    stream = iter(tensors)
    following = next(stream, None)
    while following is not None or not shards:
        with SafetensorsWriter(folder / f"shard-{len(shards)}", HEADER_BYTES) as shard:
            while following is not None and _belongs(shard.contents, *_described(*following)):
                shard.add(following[0], following[1].detach().to("cpu"))
                following = next(stream, None)
        shards.append(shard.contents.slots)
    for number, file in enumerate(shard_names(len(shards))):
        (folder / f"shard-{number}").rename(folder / file)
    write_index(folder, shards)
    describe_weights(folder / CONFIG, shards)


def plan_shards(tensors: Iterable[Described]) -> list[tuple[Slot, ...]]:
    """The tensors of every file that `write_hf_folder` makes of a stream of such tensors."""
    shards = [Contents(HEADER_BYTES)]
    for tensor in tensors:
        if not _belongs(shards[-1], *tensor):
            shards.append(Contents(HEADER_BYTES))
        shards[-1].add(*tensor)
    return [shard.slots for shard in shards]


def _described(name: str, tensor: Tensor) -> Described:
    return name, tensor.dtype, tuple(tensor.shape)


def _belongs(shard: Contents, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> bool:
    if not shard.slots:
        return True
    nbytes = prod(shape) * dtype.itemsize
    return shard.nbytes + nbytes <= SHARD_BYTES and shard.takes(name, dtype, shape)


def shard_names(count: int) -> list[str]:
    """The file names of a model in `count` shards, as transformers expects them."""
    if count == 1:
        return [SINGLE]
    return [f"model-{number + 1:05d}-of-{count:05d}.safetensors" for number in range(count)]


def write_index(folder: Path, shards: Sequence[Sequence[Slot]]) -> None:
    """Write the index that says which shard holds which tensor; a single shard has none."""
    if len(shards) == 1:
        return
    weight_map = {
        slot.name: file for slots, file in zip(shards, shard_names(len(shards)), strict=True) for slot in slots
    }
    total = sum(slot.nbytes for slots in shards for slot in slots)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def describe_weights(path: Path, shards: Sequence[Sequence[Slot]]) -> None:
    """Let the configuration name the dtype of the tensors, under one key: loaders go by it and would cast them.

    Biases of routers, which are in fp32 in every model, and which loaders leave so, don't count. Layers that predict
    further tokens are not among the tensors, and the configuration says so as well.
    """
    if not path.is_file():
        return
    config = json.loads(path.read_text(encoding="utf-8"))
    said = without_further_layers(config)
    dtypes = {slot.dtype for slots in shards for slot in slots if not slot.name.endswith(HF_BIAS)}
    if len(dtypes) == 1:
        key = "torch_dtype" if "torch_dtype" in config and "dtype" not in config else "dtype"
        said[key] = str(dtypes.pop()).removeprefix("torch.")
        if key == "dtype":
            said.pop("torch_dtype", None)
    if said != config:
        path.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def dtype_named(name: str) -> torch.dtype:
    """torch dtype of a configuration's dtype string."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
