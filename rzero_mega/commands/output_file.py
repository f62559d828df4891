"""The file that --output names."""

from __future__ import annotations

from pathlib import Path

from rzero_mega.atomic import storage_errors
from rzero_mega.errors import UserError


def output_file(output: Path | None, default: Path) -> Path:
    """`output`, or `default` where nothing is given, in a folder that is there; UserError for a folder's path."""
    path = output or default
    if path.is_dir():
        raise UserError(f"--output {path}: is a folder; name a file in it, for instance {path / default.name}")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path
