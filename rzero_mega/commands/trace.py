"""`rzero-mega trace`: a run's timeline for Perfetto."""

from __future__ import annotations

from pathlib import Path

from rzero_mega.atomic import storage_errors, write_json
from rzero_mega.errors import UserError
from rzero_mega.run import RunDirectory
from rzero_mega.run.timeline import FILE, read_timeline
from rzero_mega.tracking.trace import chrome_trace


def write_trace(run: RunDirectory, output: Path | None) -> str:
    """Write the trace and say where; UserError where nothing has been measured, or the file can't be written."""
    spans = read_timeline(run.path / FILE)
    if not spans:
        raise UserError(f"{run.path / FILE}: nothing in it yet; a run writes it as it goes")
    path = output or run.path / "trace.json"
    if path.is_dir():
        raise UserError(f"--output {path}: is a folder; name a file in it, for instance {path / 'trace.json'}")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, chrome_trace(spans, run.path.name))
    return f"{path}: {len(spans)} spans; open it at https://ui.perfetto.dev or chrome://tracing"
