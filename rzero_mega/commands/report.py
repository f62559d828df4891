"""`rzero-mega report`: the page of a run."""

from __future__ import annotations

from pathlib import Path

from rzero_mega.commands.output_file import output_file
from rzero_mega.run import RunDirectory
from rzero_mega.tracking import write_report


def report(run: RunDirectory, output: Path | None) -> str:
    """Write the page and say where; UserError as `output_file`."""
    path = output_file(output, run.path / "report.html")
    write_report(run, path)
    return str(path)
