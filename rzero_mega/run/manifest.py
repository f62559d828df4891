"""The done-marker of a phase: what went in and what came out, with hashes. It is written last: it means finished."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rzero_mega import atomic
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.records import bounded, field, typed
from rzero_mega.run.checksums import FileHash, combined, digest
from rzero_mega.run.sealed import read_sealed


@dataclass(frozen=True)
class Artefact:
    """One output of a phase; `path` is relative to the phase's folder, and the hash is that of `atomic.sha256`.

    `files` are those of a folder, by name; a manifest of an earlier version names none.
    """

    path: str
    sha256: str
    bytes: int
    files: Mapping[str, FileHash] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Values:
    """The configuration under which a phase went on after so many steps or parts: at first all keys, then changes."""

    done: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Manifest:
    """A finished phase. `inputs` are SHA-256 by name; `seconds` is wall time summed over `attempts`."""

    phase: PhaseName
    iteration: int
    inputs: Mapping[str, str]
    outputs: Mapping[str, Artefact]
    summary: Mapping[str, Any]
    seconds: float
    attempts: int
    finished: str
    values: Sequence[Values] = ()

    def as_json(self) -> dict[str, Any]:
        """The content of manifest.json."""
        return asdict(self)


def read_manifest(path: Path) -> Manifest | None:
    """Read and check a manifest; None where there is none. Raises UserError naming the file when it is malformed."""
    with atomic.storage_errors(path):
        if not path.exists():
            return None
    advice = f"restore it, or remove {path.parent} to redo the phase"
    data = read_sealed(path, advice)
    try:
        return _from_json(data)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path}: malformed manifest: {reason}; {advice}") from None


def _from_json(data: Mapping[str, Any]) -> Manifest:
    return Manifest(
        phase=PhaseName(field(data, "phase", str)),
        iteration=bounded(field(data, "iteration", int), "iteration", 0),
        inputs={name: digest(typed(value, str, name)) for name, value in field(data, "inputs", dict).items()},
        outputs={name: _artefact(typed(row, dict, name)) for name, row in field(data, "outputs", dict).items()},
        summary=field(data, "summary", dict),
        seconds=bounded(_seconds(data["seconds"]), "seconds", 0.0),
        attempts=bounded(field(data, "attempts", int), "attempts", 1),
        finished=field(data, "finished", str),
        values=read_values(data.get("values", [])),
    )


def read_values(rows: Any) -> list[Values]:
    """The values of a phase out of its JSON; KeyError, TypeError or ValueError if they are malformed."""
    return [
        Values(bounded(field(row, "done", int), "done", 0), field(row, "values", dict))
        for row in (typed(row, dict, "values") for row in typed(rows, list, "values"))
    ]


def _artefact(row: Mapping[str, Any]) -> Artefact:
    whole = FileHash.from_json(row)
    rows = typed(row.get("files", {}), dict, "files")
    files = {_inside(name): FileHash.from_json(typed(file, dict, name)) for name, file in rows.items()}
    if files and combined(files) != whole.sha256:
        raise ValueError(f"the files of {row['path']} don't come to its SHA-256")
    return Artefact(_inside(row["path"]), whole.sha256, whole.bytes, files)


def _seconds(value: Any) -> float:
    return float(value) if type(value) is int else typed(value, float, "seconds")


def _inside(value: Any) -> str:
    text = typed(value, str, "path")
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"the path {text!r} does not lie in the phase's folder")
    return text
