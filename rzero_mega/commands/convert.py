"""The command `convert`: shows how far a conversion is and says at the end what came of it."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from rzero_mega.learner.checkpoints.conversion.convert import convert


def convert_and_show(source: Path, target: Path, template: Path | None, dtype: str | None) -> str:
    """Convert (see `learner.convert`) with a bar on terminals; returns a line that sums it up."""
    torch.set_num_threads(1)
    console = Console(stderr=True)
    began = time.monotonic()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        expand=True,
        disable=not console.is_terminal,
    ) as bars:
        task = bars.add_task(f"convert {source.name}", total=None)
        done = convert(
            source, target, template, dtype, report=lambda now, total: bars.update(task, completed=now, total=total)
        )
    seconds = time.monotonic() - began
    return (
        f"{target}: {done.to}, {done.tensors} tensors, {done.nbytes / 1e9:.2f} GB in {seconds:.0f} s"
        f" ({done.nbytes / 1e9 / max(seconds, 1e-9):.2f} GB/s)"
    )
