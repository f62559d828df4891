"""The command `convert`: shows how far a conversion is and says at the end what came of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from rzero_mega.config.schema import ModelConfig
from rzero_mega.inspection.model import inspect_tokenizer
from rzero_mega.learner.checkpoints.conversion.convert import convert
from rzero_mega.terminal import in_one_line, new_console
from rzero_mega.weights.base_model import resolve_base_model
from rzero_mega.weights.model_files import CONFIG, TOKENIZER_FILES
from rzero_mega.weights.shape import read_shape


def folder_of(name: str) -> Path:
    """A folder as it is, else the model that `model.path` would name so; UserError if there is none."""
    path = Path(name).expanduser()
    return path if path.exists() else resolve_base_model(ModelConfig(name), Path("runs") / ".models")


def convert_and_show(source_name: str, target: Path, template_name: str | None, dtype: str | None) -> str:
    """Convert (see `learner.convert`) with a bar on terminals; returns a line that sums it up."""
    source, template = folder_of(source_name), folder_of(template_name) if template_name is not None else None
    torch.set_num_threads(1)
    model = source if (source / CONFIG).is_file() else template
    if model is not None and any((model / name).exists() for name in TOKENIZER_FILES):
        # Of a template that is another model's, `convert` lists all differences: its vocabulary is one of them.
        inspect_tokenizer(model, read_shape(model).vocab if model == source else sys.maxsize)
    console = new_console(stderr=True)
    began = time.monotonic()
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        expand=True,
        disable=not console.is_terminal,
    ) as bars:
        task = bars.add_task(in_one_line(f"convert {source.name}"), total=None)
        done = convert(
            source, target, template, dtype, report=lambda now, total: bars.update(task, completed=now, total=total)
        )
    seconds = time.monotonic() - began
    return (
        f"{target}: {done.to}, {done.tensors} tensors, {done.nbytes / 1e9:.2f} GB in {seconds:.0f} s"
        f" ({done.nbytes / 1e9 / max(seconds, 1e-9):.2f} GB/s)"
    )
