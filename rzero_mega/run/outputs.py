"""The outputs of a finished phase, held against its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rzero_mega import atomic
from rzero_mega.errors import UserError
from rzero_mega.run.checksums import FileHash, check_file, check_names, combined, folder_hashes
from rzero_mega.run.manifest import Artefact


def artefact_of(phase: Path, path: Path, files: Mapping[str, FileHash] | None = None) -> Artefact:
    """A file or folder below the phase's, flushed to disk and hashed.

    `files` are those of a folder, by name, where who wrote it has hashed and flushed them: none is read again.
    """
    relative = path.relative_to(phase).as_posix()
    if files is not None:
        check_names(path, files, "remove the folder to have it written again")
        return Artefact(relative, combined(files), sum(file.bytes for file in files.values()), files)
    if not path.is_dir():
        atomic.fsync_file(path)
        found = FileHash.of(path)
        return Artefact(relative, found.sha256, found.bytes)
    atomic.fsync_tree(path)
    files = folder_hashes(path)
    return Artefact(relative, combined(files), sum(file.bytes for file in files.values()), files)


def files_of(artefact: Artefact) -> list[str]:
    """What `check_files` can check by itself, relative to the phase's folder: a file, or those of a folder."""
    return [f"{artefact.path}/{name}" for name in artefact.files] or [artefact.path]


def check_files(phase: Path, artefact: Artefact, files: Sequence[str], advice: str) -> None:
    """Read these of `files_of`; UserError names the first that is not what it was, and gives the advice."""
    hashes = {f"{artefact.path}/{name}": expected for name, expected in artefact.files.items()}
    for file in files:
        path = phase / file
        if file in hashes or not path.is_dir():
            check_file(path, hashes.get(file, FileHash(artefact.sha256, artefact.bytes)), advice)
        elif atomic.sha256(path) != artefact.sha256:  # an earlier version did not note a folder's files one by one
            raise UserError(f"{path}: has changed since it was written (its SHA-256 is another); {advice}")


def check_presence(phase: Path, artefact: Artefact, advice: str) -> None:
    """A file's content; of a folder only the names and sizes of its files, for its content is checked when used."""
    path = phase / artefact.path
    if not path.exists():
        raise UserError(f"{path}: is missing; {advice}")
    if not path.is_dir():
        check_files(phase, artefact, files_of(artefact), advice)
        return
    if artefact.files:
        check_names(path, artefact.files, advice)
    sizes = {path / name: expected.bytes for name, expected in artefact.files.items()} or {path: artefact.bytes}
    for file, size in sizes.items():
        if atomic.size_bytes(file) != size:
            raise UserError(f"{file}: has changed since it was written (its size is another); {advice}")
