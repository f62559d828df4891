"""Files in the safetensors format, written as their tensors come, and where their tensors lie.

The safetensors library writes whole dictionaries of tensors and therefore needs them all in memory. The format is
simple: the header's length (8 bytes, little-endian), a JSON header padded with spaces, the raw data.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rzero_mega.errors import UserError
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


def write_safetensors(path: Path, slots: Sequence[Slot], data: Iterable[Tensor]) -> None:
    """Write the tensors that `slots` describe, laid end to end from offset 0.

    `data` yields CPU tensors whose bytes follow each other in the order of the slots; where one ends and the next
    begins does not matter. ValueError if slots have gaps or the data is not as long as they say; no file is left then.
    """
    header = _header(slots)
    expected = slots[-1].stop if slots else 0
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            _write(file, header)
            for tensor in data:
                written += tensor.nbytes
                if written > expected:
                    break
                _write(file, raw_bytes(tensor))
                del tensor  # or it would be in memory together with the next one
        if written != expected:
            raise ValueError(f"{path}: slots of {expected} bytes, data of {written} or more")
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class SafetensorsWriter:
    """A file to which tensors are added one by one, unknown beforehand; use it as a context manager.

    `header_bytes` are kept free for the header, which is written last. The file of a block that fails is removed.
    """

    def __init__(self, path: Path, header_bytes: int) -> None:
        if header_bytes % _ALIGNMENT:
            raise ValueError(f"header_bytes {header_bytes} is no multiple of {_ALIGNMENT}")
        self._path, self._header_bytes = path, header_bytes
        self._slots: list[Slot] = []
        self._names_bytes = 0
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by __exit__
        self._file.seek(header_bytes)

    def __enter__(self) -> SafetensorsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if kind is None:
                self._file.seek(0)
                _write(self._file, _header(self._slots, self._header_bytes))
        except BaseException:
            kind = BaseException
            raise
        finally:
            self._file.close()
            if kind is not None:
                self._path.unlink(missing_ok=True)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors so far."""
        return self._slots[-1].stop if self._slots else 0

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The tensors so far."""
        return tuple(self._slots)

    def takes(self, name: str, tensor: Tensor) -> bool:
        """Whether the tensor would be aligned to its dtype and its name fits into the header."""
        entry = len(_entry(Slot(name, tensor.dtype, tuple(tensor.shape), self.nbytes)))
        fits = len(_header([])) + _ALIGNMENT + self._names_bytes + entry <= self._header_bytes
        return fits and self.nbytes % tensor.dtype.itemsize == 0

    def add(self, name: str, tensor: Tensor) -> None:
        """Write a CPU tensor; ValueError unless the file `takes` it."""
        if not self.takes(name, tensor):
            raise ValueError(f"{self._path}: {name} does not fit behind the tensors that are there")
        slot = Slot(name, tensor.dtype, tuple(tensor.shape), self.nbytes)
        _write(self._file, raw_bytes(tensor))
        self._slots.append(slot)
        self._names_bytes += len(_entry(slot)) + 1


def read_slots(path: Path) -> list[Slot]:
    """The tensors of a file in the order of their data; `start` is counted from the beginning of the file.

    The safetensors library checks the header; UserError names the file if it is damaged or its dtypes are not known.
    """
    try:
        with open(path, "rb") as file:
            end = _LENGTH_BYTES + struct.unpack("<Q", file.read(_LENGTH_BYTES))[0]
        slots = []
        with safe_open(path, framework="pt") as opened:
            for name in opened.offset_keys():
                view = opened.get_slice(name)
                slots.append(Slot(name, _DTYPES[view.get_dtype()], tuple(view.get_shape()), end))
                end = slots[-1].stop
    except KeyError as error:
        raise UserError(f"{path}: tensors of dtype {error.args[0]} are not supported") from None
    except (OSError, SafetensorError, struct.error) as error:
        raise UserError(f"{path}: not readable as safetensors: {error}") from None
    return slots


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


def _write(file: FileIO, data: bytes | memoryview) -> None:
    # An unbuffered write may take less than it is given; Linux takes at most 2 GB at once.
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
