"""Files in the safetensors format, written as their tensors come, and where their tensors lie.

The safetensors library writes whole dictionaries of tensors and therefore needs them all in memory. The format is
simple: the header's length (8 bytes, little-endian), a JSON header padded with spaces, the raw data.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor

from rzero_mega.errors import UserError, first_line
from rzero_mega.text_file import unique_keys
from rzero_mega.weights.bucket import Slot

DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
_LENGTH_BYTES = 8
_ALIGNMENT = 8
# The format allows 100 MB. A file with all tensors of a model of 235 billion parameters has one of 5.
_LONGEST_HEADER = 32 * 1024**2
_MOST_DIMENSIONS = 8


class Digest(Protocol):
    """A hash of hashlib's."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take further bytes."""
        ...


def write_safetensors(
    path: Path,
    slots: Sequence[Slot],
    data: Iterable[Tensor],
    header_bytes: int | None = None,
    digest: Digest | None = None,
) -> None:
    """Write the tensors that `slots` describe, laid end to end from offset 0.

    `data` yields CPU tensors whose bytes follow each other in the order of the slots; where one ends and the next
    begins does not matter. The header is as long as it must be, or `header_bytes`. The `digest` gets the file's bytes
    as they are written. ValueError if slots have gaps or the data is not as long as they say; no file is left then.
    """
    header = _header(slots, header_bytes)
    expected = slots[-1].stop if slots else 0
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            _write(file, header, digest)
            for tensor in data:
                written += tensor.nbytes
                if written > expected:
                    break
                _write(file, raw_bytes(tensor), digest)
                del tensor  # or it would be in memory together with the next one
        if written != expected:
            raise ValueError(f"{path}: slots of {expected} bytes, data of {written} or more")
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class Contents:
    """The tensors of a file, one behind the other, whose header has room for so many bytes."""

    def __init__(self, header_bytes: int) -> None:
        if header_bytes % _ALIGNMENT:
            raise ValueError(f"header_bytes {header_bytes} is no multiple of {_ALIGNMENT}")
        self.header_bytes = header_bytes
        self._slots: list[Slot] = []
        self._names_bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors so far."""
        return self._slots[-1].stop if self._slots else 0

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The tensors so far."""
        return tuple(self._slots)

    def takes(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> bool:
        """Whether the tensor would be aligned to its dtype and its name fits into the header."""
        entry = len(_entry(Slot(name, dtype, shape, self.nbytes)))
        fits = len(_header([])) + _ALIGNMENT + self._names_bytes + entry <= self.header_bytes
        return fits and self.nbytes % dtype.itemsize == 0

    def add(self, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        """A further tensor; ValueError unless the file `takes` it."""
        if not self.takes(name, dtype, shape):
            raise ValueError(f"{name} does not fit behind the tensors that are there")
        slot = Slot(name, dtype, shape, self.nbytes)
        self._slots.append(slot)
        self._names_bytes += len(_entry(slot)) + 1


class SafetensorsWriter:
    """A file to which tensors are added one by one, unknown beforehand; use it as a context manager.

    `header_bytes` are kept free for the header, which is written last. The file of a block that fails is removed.
    """

    def __init__(self, path: Path, header_bytes: int) -> None:
        self._path, self.contents = path, Contents(header_bytes)
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by __exit__
        self._file.seek(header_bytes)

    def __enter__(self) -> SafetensorsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if kind is None:
                self._file.seek(0)
                _write(self._file, _header(self.contents.slots, self.contents.header_bytes))
        except BaseException:
            kind = BaseException
            raise
        finally:
            self._file.close()
            if kind is not None:
                self._path.unlink(missing_ok=True)

    def add(self, name: str, tensor: Tensor) -> None:
        """Write a CPU tensor; ValueError unless the `contents` take it."""
        self.contents.add(name, tensor.dtype, tuple(tensor.shape))
        _write(self._file, raw_bytes(tensor))


def read_slots(path: Path) -> list[Slot]:
    """The tensors of a file in the order of their data; `start` is counted from the beginning of the file.

    The header is checked whole: known dtypes, sizes that follow from the shapes, tensors end to end up to the end of
    the file. UserError names the file, and the tensor, if it is damaged.
    """
    try:
        with open(path, "rb") as file:
            nbytes = os.fstat(file.fileno()).st_size
            length = struct.unpack("<Q", file.read(_LENGTH_BYTES))[0]
            begin = _LENGTH_BYTES + length
            if length > _LONGEST_HEADER or begin > nbytes:
                raise ValueError(f"its header has {length} bytes, the file {nbytes}")
            header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=unique_keys)
        if not isinstance(header, dict):
            raise ValueError("its header is no JSON object")
        header.pop("__metadata__", None)
        slots = sorted((_slot(name, entry, begin) for name, entry in header.items()), key=_place)
        _check_places(slots, begin, nbytes)
    except (OSError, ValueError, RecursionError, struct.error) as error:
        raise UserError(f"{path}: not readable as safetensors: {first_line(error)}") from None
    return slots


def _slot(name: str, entry: Any, begin: int) -> Slot:
    what = f"tensor {name[:200]}"
    try:
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{what} lacks dtype, shape or data_offsets") from None
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ValueError(f"{what}: dtype {str(dtype)[:40]} is not supported")
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(map(_is_size, [*shape, start, stop])):
        raise ValueError(f"{what}: shape and data_offsets must be whole numbers")
    slot = Slot(name, _DTYPES[dtype], tuple(shape), begin + start)
    if slot.stop != begin + stop:
        raise ValueError(f"{what}: {dtype} {shape} takes {slot.nbytes} bytes, its data_offsets say {stop - start}")
    return slot


def _is_size(number: object) -> bool:
    return type(number) is int and 0 <= number < 1 << 63


def _place(slot: Slot) -> tuple[int, int]:
    return slot.start, slot.nbytes


def _check_places(slots: Sequence[Slot], begin: int, end: int) -> None:
    """Tensors follow each other from the header's end to the file's, without gap or overlap."""
    for slot in slots:
        if slot.start != begin:
            raise ValueError(f"tensor {slot.name[:200]} begins at byte {slot.start} of the file, {begin} is expected")
        begin = slot.stop
    if begin != end:
        raise ValueError(f"its tensors end at byte {begin}, the file at {end}: cut short, or not this header's")


def raw_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a CPU tensor in row-major order, without a copy where it is contiguous."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _entry(slot: Slot) -> str:
    entry = {
        "dtype": DTYPE_NAMES[slot.dtype],
        "shape": list(slot.shape),
        "data_offsets": [slot.start, slot.stop],
    }
    return f"{json.dumps(slot.name)}:{json.dumps(entry, separators=(',', ':'))}"


def _header(slots: Sequence[Slot], size: int | None = None) -> bytes:
    """The header with its length in front, padded with spaces: to `size` bytes, or to the next alignment."""
    end = 0
    for slot in slots:
        if slot.start != end:
            raise ValueError(f"{slot.name} starts at {slot.start} and not at {end}, where the tensor before it ends")
        end = slot.stop
    names = [slot.name for slot in slots]
    if len(set(names)) < len(names):
        raise ValueError("two tensors have the same name")
    text = "{" + ",".join(['"__metadata__":{"format":"pt"}', *(_entry(slot) for slot in slots)]) + "}"
    body = text.encode()
    length = size - _LENGTH_BYTES if size is not None else len(body) + -len(body) % _ALIGNMENT
    if len(body) > length:
        raise ValueError(f"a header of {len(body)} bytes does not fit into {length}")
    return struct.pack("<Q", length) + body.ljust(length)


def _write(file: FileIO, data: bytes | memoryview, digest: Digest | None = None) -> None:
    if digest is not None:
        digest.update(data)
    # An unbuffered write may take less than it is given; Linux takes at most 2 GB at once.
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
