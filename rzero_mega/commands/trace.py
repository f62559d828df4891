"""`rzero-mega trace`: a run's timeline for Perfetto."""

from __future__ import annotations

from pathlib import Path

from rzero_mega.atomic import write_json
from rzero_mega.commands.output_file import output_file
from rzero_mega.errors import UserError
from rzero_mega.run import RunDirectory
from rzero_mega.run.timeline import FILE, read_timeline
from rzero_mega.tracking.trace import chrome_trace


def write_trace(run: RunDirectory, output: Path | None) -> str:
    """Write the trace and say where; UserError where nothing has been measured, and as `output_file`."""
    spans = read_timeline(run.path / FILE)
    if not spans:
        raise UserError(f"{run.path / FILE}: nothing in it yet; a run writes it as it goes")
    path = output_file(output, run.path / "trace.json")
    write_json(path, chrome_trace(spans, run.path.name))
    return f"{path}: {len(spans)} spans; open it at https://ui.perfetto.dev or chrome://tracing"
