"""Files and folders that are there whole or not at all, and errors of the storage in words a user can act on.

Everything is written aside in the same folder, flushed to disk and renamed. What a kill leaves behind has a name of
its own (`.NAME.xxxxxxxx.tmp`, `.NAME.xxxxxxxx.old`) and `recover` clears it away on the next start.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rzero_mega.errors import UserError

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<kind>tmp|old)")
_REMEDY = "then run the same command again, or set run.root to another file system"
_STORAGE_ERRORS = {
    errno.ENOSPC: f"no space left on the file system; free some, {_REMEDY}",
    errno.EDQUOT: f"disk quota exceeded; free some space, {_REMEDY}",
    errno.EROFS: "the file system is read-only; set run.root to a writable folder",
    errno.EACCES: "permission denied; make it writable, or set run.root to a writable folder",
    errno.EPERM: "the operation is not permitted there; set run.root to a writable folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder; set run.root to a folder",
    errno.ENAMETOOLONG: "the path is too long; set run.root or run.name to a shorter one",
    errno.ENOENT: "does not exist; check the path, and that nothing removes files of a run",
    errno.EISDIR: "is a folder where a file should be; remove it",
    errno.EEXIST: "is a file; remove it, or choose another run.name or run.root",
    errno.ELOOP: "is a symbolic link that leads in a circle; remove it",
    errno.EIO: f"the storage reports an input/output error; check it, {_REMEDY}",
    errno.ESTALE: f"the network file system lost this file; check the mount, {_REMEDY}",
}
# Of OSError's kinds those that are about processes and connections.
_NOT_STORAGE = (ConnectionError, ChildProcessError, ProcessLookupError)
# What native writers say when a disk is full, and what they also say otherwise.
_FULL = ("no space left on device", "os error 28")
_WRITING = ("write", "writing", "unexpected pos")
_ALMOST_FULL_BYTES = 1 << 20
LARGEST = 1e100
"""Of the numbers in files: squares and sums of such stay finite, and no float32 comes near it."""
LARGEST_DIGITS = 40
"""Of the integers in files."""


def storage_failure(error: OSError, path: Path | None = None) -> UserError | None:
    """One line about a file system that refused; None where it is about no file.

    Names the error's own path, where that is not known `path`, and where `path` is a folder what in it failed.
    """
    own = error.filename if isinstance(error.filename, str) else None
    named = own if own is not None and (path is None or Path(own).is_relative_to(path)) else path
    if named is None or isinstance(error, _NOT_STORAGE):
        return None
    reason = _STORAGE_ERRORS.get(error.errno or 0)
    return UserError(f"{named}: {reason or f'the file system says: {error.strerror or error}; check it, {_REMEDY}'}")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what a file system refuses inside the block, reading or writing, into a UserError naming `path`.

    Native writers (safetensors, torch) report a full disk without an errno; they are recognised by their words or by
    the file system having no room left.
    """
    try:
        yield
    except OSError as error:
        failure = storage_failure(error, path)
        if failure is None:
            raise
        raise failure from None
    except UserError:
        raise
    except Exception as error:
        if not _is_full_disk(error, path):
            raise
        raise UserError(f"{path}: {_STORAGE_ERRORS[errno.ENOSPC]}") from None


def _is_full_disk(error: Exception, path: Path) -> bool:
    met: BaseException | None = error
    while met is not None:  # torch closes an archive that it could not write, and then complains about that
        if isinstance(met, OSError) and met.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(met).lower() for words in _FULL):
            return True
        met = met.__cause__ or met.__context__
    return any(words in str(error).lower() for words in _WRITING) and free_bytes(path) < _ALMOST_FULL_BYTES


def free_bytes(path: Path) -> int:
    """Bytes that may still be written where `path` lies, or will lie once it exists."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a kill at any moment leaves the old one or the new one. Raises UserError for bad storage."""
    aside = _aside(path, "tmp")
    with storage_errors(path):
        try:
            with open(aside, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            with suppress(OSError):
                aside.unlink()
            raise
        fsync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; see `write_bytes`. Lone surrogates, which UTF-8 cannot hold, become JSON escapes."""
    write_bytes(path, _utf8(text))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON; see `write_bytes`. Raises ValueError naming the key that holds a NaN or an infinity."""
    write_text(path, _dumps(path, value, indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line; see `write_json`."""
    write_bytes(path, b"".join(json_line(path, row) for row in rows))


def json_line(path: Path, row: Mapping[str, Any]) -> bytes:
    """One line of a JSONL file. `path` is only named in errors."""
    return _utf8(_dumps(path, row, indent=None) + "\n")


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append one JSON line; when the storage refuses, the file is as long as before."""
    append_lines(path, [row])


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append JSON lines in one go; see `append_line`."""
    lines = b"".join(json_line(path, row) for row in rows)
    with storage_errors(path), open(path, "a+b", buffering=0) as file:
        length = file.seek(0, os.SEEK_END)
        if lines and length and os.pread(file.fileno(), 1, length - 1) != b"\n":
            lines = b"\n" + lines
        try:
            # Unbuffered: on a full disk the first write may take a part, and the next one raises the reason.
            while lines:
                lines = lines[file.write(lines) :]
        except OSError:
            file.truncate(length)
            raise


def read_json(path: Path, most_bytes: int = -1) -> Any:
    """Read a JSON file. Raises UserError naming the file when it holds something else, see `parse_json`.

    `most_bytes` bounds what is read of a file that others wrote. The file is opened anew: network file systems then ask
    for its newest state.
    """
    try:
        with storage_errors(path), open(path, "rb") as file:
            return parse_json(file.read(most_bytes))
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error}); restore it or remove it") from None


def read_jsonl(path: Path, skip_malformed: bool = False, sha256: str | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a JSONL file. A malformed line is a UserError naming file and line, or passed over on request.

    With `sha256`, what was read must have that hash in the end; UserError otherwise.
    """
    read = hashlib.sha256()
    with storage_errors(path), open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            read.update(line)
            try:
                row = parse_object(line)
            except ValueError as error:
                if skip_malformed:
                    continue
                raise UserError(f"{path}: line {number} is not a JSON object ({error}); restore or remove it") from None
            yield row
    if sha256 is not None and read.hexdigest() != sha256:
        raise UserError(f"{path}: has changed since it was written; restore it, or remove {path.parent} to redo it")


def parse_json(text: bytes) -> Any:
    """JSON that another process may have damaged. ValueError for anything else, and for numbers that no sum survives.

    NaN, infinities and numbers beyond LARGEST are none that this program writes.
    """
    try:
        return json.loads(text, parse_int=_integer, parse_float=_real, parse_constant=_real)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_object(text: bytes) -> dict[str, Any]:
    """The same where an object is wanted; ValueError otherwise."""
    row = parse_json(text)
    if not isinstance(row, dict):
        raise ValueError("not an object")
    return row


def _integer(digits: str) -> int:
    if len(digits) > LARGEST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if not abs(value) <= LARGEST:
        raise ValueError(f"the number {digits[:40]}")
    return value


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Fill the yielded folder; leaving the block flushes it to disk and puts it at `path` in place of what was there.

    A kill leaves the old folder, the new one, or a leftover from which `recover` restores the old one. An exception
    inside the block removes what was written and leaves the old folder.
    """
    aside = aside_of(path)
    with storage_errors(path), removed_on_failure(aside):
        aside.mkdir(parents=True)
        yield aside
        replace_folder(aside, path)


@contextmanager
def removed_on_failure(folder: Path, by_me: bool = True) -> Iterator[None]:
    """An exception inside the block removes the folder, as far as it is there; `by_me`: by this process."""
    try:
        yield
    except BaseException:
        if by_me:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def replace_folder(new: Path, path: Path) -> None:
    """Flush the folder `new` to disk and rename it to `path`, whose old content is removed afterwards."""
    fsync_tree(new)
    old = _aside(path, "old")
    if path.exists():
        os.rename(path, old)
    os.rename(new, path)
    fsync_folder(path.parent)
    if old.exists():
        shutil.rmtree(old)


def remove(path: Path) -> None:
    """Remove a file or folder, whole or not at all: a kill leaves it, or a leftover that `recover` clears away."""
    aside = _aside(path, "tmp")
    os.rename(path, aside)
    shutil.rmtree(aside) if aside.is_dir() else aside.unlink()


def recover(folder: Path) -> None:
    """Clear away what killed writers left in `folder`, putting back an old folder whose successor never came."""
    for entry in list(folder.iterdir()) if folder.is_dir() else []:
        match = _LEFTOVER.fullmatch(entry.name)
        if match is None:
            continue
        with storage_errors(entry):
            target = folder / match["name"]
            if match["kind"] == "old" and not target.exists():
                os.rename(entry, target)
            elif entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def is_leftover(path: Path) -> bool:
    """Whether this is the temporary name of something that was being written."""
    return _LEFTOVER.fullmatch(path.name) is not None


def fsync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`, and itself, to disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            fsync_file(Path(root) / name)
        fsync_folder(Path(root))


def fsync_file(path: Path) -> None:
    """Flush one file to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(path: Path) -> None:
    """Flush the names in a folder to disk; file systems that cannot do this are left alone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, or of a folder: the sorted relative names, each with its file's SHA-256."""
    if not path.is_dir():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    whole = hashlib.sha256()
    for file_path in files_below(path):
        name = file_path.relative_to(path).as_posix()
        whole.update(f"{sha256(file_path)}  {name}\0".encode())
    return whole.hexdigest()


def size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in files_below(path)) if path.is_dir() else path.stat().st_size


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, sorted by relative name."""
    files = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())


def aside_of(path: Path) -> Path:
    """A fresh temporary name beside `path`, for what several processes fill before `replace_folder`."""
    return _aside(path, "tmp")


def _aside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{kind}")


def _utf8(text: str) -> bytes:
    # Inside a JSON string `\udc80` is a valid escape, so what `backslashreplace` writes reads back as the same text.
    return text.encode("utf-8", "backslashreplace")


def _dumps(path: Path, value: Any, indent: int | None) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        key = _not_a_number(value, "")
        if key is None:
            raise
        raise ValueError(f"{path}: {key} is not a finite number, which JSON cannot hold") from None


def _not_a_number(value: Any, key: str) -> str | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{key or 'the value'} ({value})"
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        children = value.items()
    elif isinstance(value, list | tuple):
        children = enumerate(value)
    found = (_not_a_number(child, f"{key}.{name}" if key else str(name)) for name, child in children)
    return next((name for name in found if name is not None), None)
