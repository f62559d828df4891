"""Text files that people write, read so that whatever is wrong with one is a line that names it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from rzero_mega.errors import UserError

# Configurations, cluster files and prompts: far below this, unless it is another kind of file.
MOST_BYTES = 4 << 20
MOST_BYTES_OF_ROWS = 1 << 30


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    UserError names the file if it is missing, no regular file, larger than `most_bytes`, forbidden or not UTF-8.
    """
    return decoded(_read_bytes(path, most_bytes), str(path))


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of a JSON-lines file; numbers are the texts that stand there. Blank lines are passed over.

    Only a line feed ends a line, as JSON has it: texts may hold U+2028 and U+0085. UserError as of `read_text`, and for
    a line that is no object, or has a key twice.
    """
    for line, text in enumerate(read_text(path, MOST_BYTES_OF_ROWS).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(
                text, parse_int=str, parse_float=str, parse_constant=refuse_constant, object_pairs_hook=unique_keys
            )
            if not isinstance(row, dict):
                raise ValueError("not an object, {...}")
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{line}: not readable as JSON: {error}") from None
        yield line, row


def is_missing(path: Path) -> bool:
    """Whether nothing has this name. Of what cannot be looked at, reading says why."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def decoded(data: bytes, source: str) -> str:
    """UTF-8 as text, without a byte order mark; UserError says on which line of `source` it is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x} on line {line}"
        raise UserError(f"{source}: is not UTF-8 ({byte}); save it as UTF-8") from None


def open_regular(path: Path) -> int:
    """A descriptor of a regular file, for reading; UserError for anything else. A pipe is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: cannot be read: {reason}") from None
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        raise UserError(f"{path}: is {'a folder' if stat.S_ISDIR(kind) else 'no regular file'}; name a file")
    return descriptor


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For json.loads: an object; ValueError for a key that appears twice, of which readers take different values."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:80]!r} appears twice")
        found[key] = value
    return found


def refuse_constant(name: str) -> NoReturn:
    """For json.loads: ValueError for NaN and infinities, which JSON does not have."""
    raise ValueError(f"{name} is no number in JSON")


def _read_bytes(path: Path, most_bytes: int) -> bytes:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > most_bytes:
        raise UserError(f"{path}: is larger than {most_bytes >> 20} MiB; is it the right file?")
    return data
