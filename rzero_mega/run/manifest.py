"""The done-marker of a phase: what went in and what came out, with hashes. It is written last: it means finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rzero_mega.atomic import read_json
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName


@dataclass(frozen=True)
class Artefact:
    """One output of a phase; `path` is relative to the phase's folder, and the hash is that of `atomic.sha256`."""

    path: str
    sha256: str
    bytes: int


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

    def as_json(self) -> dict[str, Any]:
        """The content of manifest.json."""
        return asdict(self)


def read_manifest(path: Path) -> Manifest | None:
    """Read and check a manifest; None where there is none. Raises UserError naming the file when it is malformed."""
    if not path.is_file():
        return None
    data = read_json(path)
    try:
        return _from_json(data)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path}: malformed manifest: {reason}; remove it to have the phase finish again") from None


def _from_json(data: Any) -> Manifest:
    _expect(data, dict, "the manifest")
    outputs = {
        name: Artefact(_inside(entry["path"]), _digest(entry["sha256"], name), _expect(entry["bytes"], int, "bytes"))
        for name, entry in _expect(data["outputs"], dict, "outputs").items()
    }
    return Manifest(
        phase=PhaseName(_expect(data["phase"], str, "phase")),
        iteration=_expect(data["iteration"], int, "iteration"),
        inputs={k: _digest(v, k) for k, v in _expect(data["inputs"], dict, "inputs").items()},
        outputs=outputs,
        summary=_expect(data["summary"], dict, "summary"),
        seconds=float(_expect(data["seconds"], int | float, "seconds")),
        attempts=_expect(data["attempts"], int, "attempts"),
        finished=_expect(data["finished"], str, "finished"),
    )


def _expect(value: Any, kind: Any, name: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} has the wrong type {type(value).__name__}")
    return value


def _digest(value: Any, name: str) -> str:
    text: str = _expect(value, str, f"sha256 of {name}")
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise ValueError(f"sha256 of {name} is not one")
    return text


def _inside(value: Any) -> str:
    text: str = _expect(value, str, "path")
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"the path {text!r} does not lie in the phase's folder")
    return text
