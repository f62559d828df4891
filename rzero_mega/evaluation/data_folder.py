"""The folder with the files of defined benchmarks, as `rzero-mega benchmarks fetch` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rzero_mega import atomic
from rzero_mega.errors import UserError
from rzero_mega.records import field, optional_field

MANIFEST = "benchmarks.json"
"""What of the folder was fetched: an object by benchmark, with what `Fetched` has."""


@dataclass(frozen=True)
class Fetched:
    """A file as it was fetched: its name in the folder, its hash, its problems, and where it came from."""

    file: str
    sha256: str
    items: int
    repository: str
    revision: str | None


def read_manifest(folder: Path) -> dict[str, Fetched]:
    """What was fetched, by benchmark; nothing where the folder was filled otherwise."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    content = atomic.read_json(path)
    try:
        return {name: _fetched(row) for name, row in content.items()}
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path}: malformed: {error!r}; remove it, and fetch the benchmarks again") from None


def data_file(name: str, folder: str | None) -> Path:
    """The file of a defined benchmark. UserError if it is not there, or is not what was fetched."""
    if folder is None:
        raise UserError(f"{name}: its data is needed; evaluation.data=FOLDER says where it lies")
    root = Path(folder).expanduser()
    fetched = read_manifest(root).get(name)
    names = [fetched.file] if fetched else [f"{name}.jsonl", f"{name}.json"]
    path = next((root / file for file in names if (root / file).is_file()), None)
    if path is None:
        raise UserError(f"{root / names[0]}: is missing")
    if fetched and atomic.sha256(path) != fetched.sha256:
        raise UserError(f"{path}: is not what was fetched, its SHA-256 is another one")
    return path


def _fetched(row: dict[str, object]) -> Fetched:
    return Fetched(
        Path(field(row, "file", str)).name,
        field(row, "sha256", str),
        field(row, "items", int),
        field(row, "repository", str),
        optional_field(row, "revision", str),
    )
