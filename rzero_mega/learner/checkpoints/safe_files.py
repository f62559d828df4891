"""Files of a checkpoint that cannot run code: what they may hold, checked before Megatron reads them.

`.metadata` is a pickle, `common.pt` an archive with a pickle, and a data file holds pickles wherever the metadata says
"bytes" and not "tensor". A pickle can call any function. So the metadata is read only as far as every global name in it
is on a list of plain data classes, entries of bytes are refused, and the archive is read by torch's restricted
unpickler.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from rzero_mega.atomic import storage_errors
from rzero_mega.errors import UserError, first_line
from rzero_mega.learner.checkpoints.pickle_bounds import MOST_BYTES, check_bounds

BACKENDS = {"sharded_backend": "torch_dist", "common_backend": "torch"}
_METADATA = "torch.distributed.checkpoint.metadata"
# Exact pairs: a name in a pickle may be a path, and a whole module would hand out everything that it imports.
PLAIN_NAMES = {
    ("builtins", "dict"),
    ("builtins", "list"),
    ("builtins", "set"),
    ("builtins", "tuple"),
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    (_METADATA, "ChunkStorageMetadata"),
    (_METADATA, "Metadata"),
    (_METADATA, "MetadataIndex"),
    (_METADATA, "StorageMeta"),
    (_METADATA, "TensorProperties"),
    (_METADATA, "TensorStorageMetadata"),
    (_METADATA, "BytesStorageMetadata"),
    (_METADATA, "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("megatron.core.dist_checkpointing.strategies.torch", "MCoreMetadata"),
}


def write_common(folder: Path, common: dict[str, Any]) -> None:
    """Write what a checkpoint holds besides tensors, and the description of its format.

    Megatron-core from 0.17 on reads this but has no class that writes it.
    """
    torch.save(common, folder / "common.pt")
    versions = {f"{key}_version": 1 for key in BACKENDS}
    (folder / "metadata.json").write_text(json.dumps(BACKENDS | versions), encoding="utf-8")


def check_files(folder: Path) -> dict[str, Any]:
    """The common state of a checkpoint that is complete and cannot run code.

    UserError names the file that is missing, cut short, or holds anything but plain data.
    """
    for name in (".metadata", "metadata.json", "common.pt"):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: missing; {folder} is not a complete checkpoint")
    _check_backends(folder / "metadata.json")
    metadata = _read_metadata(folder / ".metadata")
    try:
        _check_entries(folder, metadata)
    except (AttributeError, TypeError) as error:
        raise UserError(f"{folder / '.metadata'}: malformed: {first_line(error)}") from None
    return _read_common(folder / "common.pt")


def tensor_names(folder: Path) -> set[str]:
    """Names of the tensors of a checkpoint. UserError as `check_files`."""
    return set(_read_metadata(folder / ".metadata").state_dict_metadata)


def _check_backends(path: Path) -> None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        unknown = [key for key, value in BACKENDS.items() if found.get(key, value) != value]
    except (ValueError, AttributeError):
        raise UserError(f"{path}: not readable as a checkpoint's description") from None
    if unknown:
        raise UserError(f"{path}: {unknown[0]} {found[unknown[0]]!r} is not supported; only {BACKENDS[unknown[0]]} is")


# What the unpickler raises on bytes that are no pickle, or one of other classes.
_MALFORMED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class _PlainUnpickler(pickle.Unpickler):
    """Reads a pickle only as far as every class in it is plain data (Python's documented way to restrict globals)."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in PLAIN_NAMES or _is_dtype(module, name):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"mentions {module}.{name}, which is not plain data; refused")


def _is_dtype(module: str, name: str) -> bool:
    return module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)


def _read_metadata(path: Path) -> Metadata:
    with storage_errors(path):
        data = path.read_bytes()
    check_bounds(data, str(path))
    try:
        metadata = _PlainUnpickler(io.BytesIO(data)).load()
    except _MALFORMED as error:
        raise UserError(f"{path}: {first_line(error)}") from None
    if not isinstance(metadata, Metadata):
        raise UserError(f"{path}: not the metadata of a checkpoint")
    return metadata


def _check_entries(folder: Path, metadata: Metadata) -> None:
    for key, entry in metadata.state_dict_metadata.items():
        if not isinstance(entry, TensorStorageMetadata):
            raise UserError(f"{folder / '.metadata'}: {key} is no tensor but a pickle; refused")
    ends: dict[str, int] = {}
    for info in metadata.storage_data.values():
        ends[info.relative_path] = max(ends.get(info.relative_path, 0), info.offset + info.length)
    for file, end in ends.items():
        if Path(file).name != file:
            raise UserError(f"{folder / '.metadata'}: {file!r} is not a file name inside the folder")
        if not (folder / file).is_file():
            raise UserError(f"{folder / file}: missing; {folder} is not a complete checkpoint")
        if (folder / file).stat().st_size < end:
            raise UserError(f"{folder / file}: cut short; {folder} is not a complete checkpoint")


def _read_common(path: Path) -> dict[str, Any]:
    try:
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path}: not in torch's archive format")
        _check_archive(path)
        common = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"{path}: mentions names that are not plain data; refused") from None
    except (*_MALFORMED, RuntimeError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not readable: {first_line(error)}") from None
    if not isinstance(common, dict):
        raise UserError(f"{path}: not the common state of a checkpoint")
    return common


def _check_archive(path: Path) -> None:
    """Bounds of the pickles in torch's archive; see `check_bounds`."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.endswith(".pkl"):
                if info.file_size > MOST_BYTES:
                    raise UserError(f"{path}: {info.filename} has {info.file_size} bytes; refused")
                check_bounds(archive.read(info), f"{path}: {info.filename}")
