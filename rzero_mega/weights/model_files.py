"""Which files of a folder are the model. Nothing else in it is opened, hashed or copied.

A model is its configuration, its tokenizer and its safetensors. Each must be a regular file inside the folder, or a
link within it; in the hub's cache, whose folders of a revision hold links to `blobs` two levels above, a link to there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rzero_mega.atomic import sha256
from rzero_mega.errors import UserError, first_line
from rzero_mega.text_file import refuse_constant, unique_keys

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MB = 1024**2
# What is read beside the weights, with the most bytes that each may have: several times what published models need.
TOKENIZER_FILES = {
    "tokenizer.json": 128 * MB,
    TOKENIZER_CONFIG: 16 * MB,
    "special_tokens_map.json": MB,
    "added_tokens.json": 16 * MB,
    "vocab.json": 64 * MB,
    "merges.txt": 64 * MB,
    "tokenizer.model": 64 * MB,
    CHAT_TEMPLATE: MB,
}
SMALL_FILES = {CONFIG: 16 * MB, GENERATION_CONFIG: MB, **TOKENIZER_FILES}
# Terms that go with the weights, and so with what is trained from them.
TERMS = ("LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "NOTICE.md", "NOTICE.txt")
COPIED = (*SMALL_FILES, *TERMS)
INDEX_BYTES = 64 * MB
DEEPEST_JSON = 64


def model_file(folder: Path, name: str, most_bytes: int | None = None) -> Path | None:
    """The file of that name, or None if the folder has none.

    UserError unless it is a regular file of the folder (see above) with at most so many bytes that may be read.
    """
    path = folder / name
    try:
        if not os.path.lexists(path):
            return None
        real = path.resolve(strict=True)
        info = real.stat()
    except (OSError, RuntimeError) as error:  # the latter for links that lead in a circle
        raise UserError(f"{path}: not readable: {first_line(error)}") from None
    if not any(real.is_relative_to(home) for home in _homes(folder)):
        raise UserError(f"{path}: a link to {real}, outside the model's folder; put the file itself there")
    if not stat.S_ISREG(info.st_mode):
        raise UserError(f"{path}: not a regular file; put the model's file there or remove it")
    if most_bytes is not None and info.st_size > most_bytes:
        raise UserError(f"{path}: {info.st_size:,} bytes, at most {most_bytes:,} are read; is this the model's file?")
    if not os.access(real, os.R_OK):
        raise UserError(f"{path}: permission denied; make it readable")
    return path


def _homes(folder: Path) -> Iterator[Path]:
    """The folders in which a model's files may lie."""
    real = folder.resolve()
    yield real
    if real.parent.name == "snapshots":
        yield real.parent.parent / "blobs"


def weight_files(folder: Path) -> list[str]:
    """Names of the safetensors files that hold the weights; UserError if they are not there, or not agreed upon.

    transformers takes a single file where there is one, the index where there is none; SGLang the index, or all files.
    Where both lie side by side they must say the same.
    """
    single = model_file(folder, SINGLE)
    if model_file(folder, INDEX, INDEX_BYTES) is None:
        if single is None:
            raise UserError(f"{folder}: holds neither {SINGLE} nor {INDEX}")
        return [SINGLE]
    files = sorted(set(weight_map(folder).values()))
    if single is not None and files != [SINGLE]:
        raise UserError(
            f"{folder}: {SINGLE} lies beside {INDEX}, which names other files; one reader would take these weights, "
            "another those: remove the one or the other"
        )
    for file in files:
        if model_file(folder, file) is None:
            raise UserError(f"{folder / file}: missing, though {INDEX} names it")
    return files


def weight_map(folder: Path) -> dict[str, str]:
    """File by tensor, as the index has it; UserError names the index if it is none."""
    found = read_object(folder, INDEX, INDEX_BYTES).get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(file, str) for file in found.values()):
        raise UserError(f"{folder / INDEX}: not readable as an index of safetensors files")
    for file in found.values():
        if file in ("", "..") or Path(file).name != file:
            raise UserError(f"{folder / INDEX}: {file!r} is not a file name inside the folder")
        if not file.endswith(".safetensors"):
            raise UserError(f"{folder / INDEX}: {file!r} is no safetensors file; other formats are not read")
    return found


def read_object(folder: Path, name: str, most_bytes: int | None = None) -> dict[str, Any]:
    """The JSON object in a file of the folder.

    UserError names the file if it is missing, too large or too deep, has a key twice (readers differ in which they
    take) or a number that is not finite.
    """
    path = model_file(folder, name, most_bytes or SMALL_FILES.get(name, MB))
    if path is None:
        raise UserError(f"{folder / name}: no such file")
    try:
        found = json.loads(
            path.read_bytes().decode("utf-8"), object_pairs_hook=unique_keys, parse_constant=refuse_constant
        )
        _check_values(found)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON: {first_line(error)}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no JSON object")
    return found


def _check_values(value: Any) -> None:
    """ValueError for nesting that other readers might not survive, and for numbers that became infinite."""
    level: list[Any] = [value]
    for _ in range(DEEPEST_JSON):
        if any(isinstance(entry, float) and not math.isfinite(entry) for entry in level):
            raise ValueError("a number is too large")
        level = [
            child
            for entry in level
            if isinstance(entry, dict | list)
            for child in (entry.values() if isinstance(entry, dict) else entry)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {DEEPEST_JSON} levels")


def model_files(folder: Path) -> list[Path]:
    """All files of the model, weights included, by name; UserError as of `model_file`."""
    small = [name for name in (*COPIED, INDEX) if model_file(folder, name) is not None]
    return [folder / name for name in sorted({*small, *weight_files(folder)})]


def model_sha256(folder: Path) -> str:
    """Hex SHA-256 of configuration, tokenizer and weights: their names, each with its own hash.

    What else lies there does not count, nor do terms, from which nothing is computed.
    """
    whole = hashlib.sha256()
    for path in (file for file in model_files(folder) if file.name not in TERMS):
        whole.update(f"{sha256(path)}  {path.name}\0".encode())
    return whole.hexdigest()
