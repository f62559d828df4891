"""Sending to W&B what jobs without internet left in the run directory, from a machine that has it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from rzero_mega.errors import UserError
from rzero_mega.run import RunDirectory


def offline_folders(run: Path) -> list[Path]:
    """W&B's offline folders of a run, oldest first: their names begin with the time."""
    return sorted(path for path in (run / "wandb").glob("offline-run-*") if path.is_dir())


def sync_offline(run: RunDirectory) -> None:
    """Upload the offline folders of a run by W&B's own command, which prints what it does.

    Every process of a run makes a folder of its own under the run's one id, so they arrive as one W&B run; W&B marks
    what it has uploaded and passes it over the next time. The key is W&B's business, as everywhere: the variable
    WANDB_API_KEY or the netrc file. UserError if W&B is not installed, has no key, or did not take everything.
    """
    folders = offline_folders(run.path)
    if not folders:
        raise UserError(f"{run.path}: has no offline folders; its jobs were online, or tracking.wandb was disabled")
    if importlib.util.find_spec("wandb") is None:
        raise UserError("wandb: not installed here; run this in the environment of the jobs")
    command = [sys.executable, "-m", "wandb", "sync", *map(str, folders)]
    code = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
    if code:
        raise UserError(f"{run.path}: W&B did not take everything (exit code {code}); see what it printed above")
