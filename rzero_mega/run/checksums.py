"""What files hold, as SHA-256 and length: noted when they are made, checked when they are used.

A folder's hash is made of its files' (see `atomic.sha256`), so that several ranks can check one folder, each some of
its files, and none is read twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rzero_mega import atomic
from rzero_mega.errors import UserError
from rzero_mega.records import bounded, field

CHECKSUMS = "checksums.json"
"""A checkpoint's list of its files; it names the checkpoint's step, and is written last but for the folder's name."""


@dataclass(frozen=True)
class FileHash:
    """The SHA-256 of a file's bytes, in hex, and how many there are."""

    sha256: str
    bytes: int

    @classmethod
    def of(cls, path: Path) -> FileHash:
        """Read the file. UserError names it if the storage fails."""
        with atomic.storage_errors(path):
            return cls(atomic.sha256(path), path.stat().st_size)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> FileHash:
        """Checked; KeyError, TypeError or ValueError if it is malformed."""
        return cls(digest(field(row, "sha256", str)), bounded(field(row, "bytes", int), "bytes", 0))


def digest(text: str) -> str:
    """The text itself if it is a SHA-256 in hex; ValueError otherwise."""
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise ValueError(f"{text[:80]!r} is no SHA-256")
    return text


def folder_hashes(folder: Path) -> dict[str, FileHash]:
    """The hash of every file below a folder, by relative name."""
    return {file.relative_to(folder).as_posix(): FileHash.of(file) for file in atomic.files_below(folder)}


def combined(files: Mapping[str, FileHash]) -> str:
    """What `atomic.sha256` gives for a folder of these files."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{files[name].sha256}  {name}\0".encode())
    return whole.hexdigest()


def check_names(folder: Path, files: Iterable[str], advice: str) -> None:
    """UserError names a file that the folder lacks, or has and should not."""
    there = {file.relative_to(folder).as_posix() for file in atomic.files_below(folder)}
    expected = set(files)
    for name in sorted(expected - there):
        raise UserError(f"{folder / name}: is missing; {advice}")
    for name in sorted(there - expected):
        raise UserError(f"{folder / name}: does not belong there; remove it, or {advice}")


def check_file(path: Path, expected: FileHash, advice: str) -> None:
    """UserError names the file if it is not what it was; `advice` says what to do then. Reads it once."""
    if not path.is_file():
        raise UserError(f"{path}: is missing; {advice}")
    if FileHash.of(path) != expected:
        raise UserError(f"{path}: has changed since it was written (its SHA-256 is another); {advice}")


@dataclass(frozen=True)
class Checksums:
    """checksums.json of a checkpoint: the step it was made after, and the hash of every other file of its folder."""

    step: int
    files: Mapping[str, FileHash]

    def write(self, folder: Path) -> None:
        """Write the file into the checkpoint's folder."""
        rows = {name: asdict(self.files[name]) for name in sorted(self.files)}
        atomic.write_json(folder / CHECKSUMS, {"step": self.step, "files": rows})

    @classmethod
    def read(cls, folder: Path, advice: str | None = None) -> Checksums:
        """UserError names the file if it is missing or malformed, and every file that is too many or too few.

        `advice` is what to do then; None is that for a checkpoint of a run.
        """
        path, advice = folder / CHECKSUMS, advice or another_checkpoint(folder)
        if not path.is_file():
            raise UserError(f"{path}: is missing; {advice}")
        try:
            data = atomic.read_json(path)
            files = {name: FileHash.from_json(row) for name, row in data["files"].items()}
            found = cls(bounded(field(data, "step", int), "step", 0), files)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path}: malformed ({error}); {advice}") from None
        check_names(folder, [*files, CHECKSUMS], advice)
        return found

    def check(self, folder: Path, names: Iterable[str], advice: str | None = None) -> None:
        """UserError names the first of the files that is not what it was when the checkpoint was written."""
        for name in names:
            check_file(folder / name, self.files[name], advice or another_checkpoint(folder))


def has_checksums(folder: Path) -> bool:
    """Whether the checkpoint has them: one of a run has, one that was converted from a model has not."""
    return (folder / CHECKSUMS).is_file()


def another_checkpoint(folder: Path) -> str:
    """What to do about a damaged checkpoint."""
    return f"remove {folder} to go on from the checkpoint before it, or from the start of the phase"
