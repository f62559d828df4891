"""Models in Hugging Face format: reading tensors by name, writing a folder as a stream of shards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rzero_mega.errors import UserError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SHARD_BYTES = 4 * 1024**3


class HfWeights:
    """The tensors of a folder, read one at a time. Only safetensors are read: nothing is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file_of = _file_of_tensors(folder)
        self._open: dict[str, Any] = {}

    def __enter__(self) -> HfWeights:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._open.clear()

    def names(self) -> list[str]:
        """Names of all tensors."""
        return sorted(self._file_of)

    def tensor(self, name: str) -> Tensor:
        """One tensor; UserError names it if the folder lacks it."""
        file = self._file_of.get(name)
        if file is None:
            raise UserError(f"{self._folder}: no tensor {name}; the checkpoint does not match its config.json")
        if file not in self._open:
            self._open[file] = _open_safetensors(self._folder / file)
        try:
            tensor: Tensor = self._open[file].get_tensor(name)
        except SafetensorError as error:
            raise UserError(f"{self._folder / file}: no tensor {name}, though {INDEX} says so ({error})") from None
        return tensor


def _open_safetensors(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not readable as safetensors: {error}") from None


def _file_of_tensors(folder: Path) -> dict[str, str]:
    index = folder / INDEX
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            files = {str(name): str(file) for name, file in weight_map.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{index}: not readable as an index of safetensors files") from None
        outside = [file for file in files.values() if file in ("", "..") or Path(file).name != file]
        if outside:
            raise UserError(f"{index}: {outside[0]!r} is not a file name inside the folder")
        return files
    if not (folder / SINGLE).is_file():
        raise UserError(f"{folder}: holds neither {SINGLE} nor {INDEX}")
    return dict.fromkeys(_open_safetensors(folder / SINGLE).keys(), SINGLE)


def write_hf_folder(folder: Path, tensors: Iterable[tuple[str, Tensor]], template: Path) -> None:
    """Write a complete model folder: the tensors of the stream, and every other file of `template` (tokenizer, config).

    Memory holds one shard of at most `SHARD_BYTES` at a time. The caller makes the folder appear atomically.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(template.iterdir()):
        if file.is_file() and not file.name.endswith((".safetensors", ".safetensors.index.json", ".gguf", ".bin")):
            shutil.copyfile(file, folder / file.name)
    shards: list[list[str]] = []
    pending: dict[str, Tensor] = {}
    size = total = 0
    for name, tensor in tensors:
        tensor = tensor.detach().to("cpu").contiguous()
        if pending and size + tensor.nbytes > SHARD_BYTES:
            shards.append(_write_shard(folder, len(shards), pending))
            pending, size = {}, 0
        pending[name] = tensor
        size += tensor.nbytes
        total += tensor.nbytes
    shards.append(_write_shard(folder, len(shards), pending))
    _name_shards(folder, shards, total)


def _write_shard(folder: Path, number: int, tensors: dict[str, Tensor]) -> list[str]:
    # safetensors refuses tensors that share memory; a tensor of the stream may be a view of a bigger one.
    save_file({name: _own(t) for name, t in tensors.items()}, folder / f"shard-{number}", metadata={"format": "pt"})
    return list(tensors)


def _own(tensor: Tensor) -> Tensor:
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _name_shards(folder: Path, shards: list[list[str]], total_bytes: int) -> None:
    if len(shards) == 1:
        (folder / "shard-0").rename(folder / SINGLE)
        return
    weight_map = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        (folder / f"shard-{number}").rename(folder / file)
        weight_map.update(dict.fromkeys(names, file))
    index = {"metadata": {"total_size": total_bytes}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def dtype_named(name: str) -> torch.dtype:
    """torch dtype of a configuration's dtype string."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
