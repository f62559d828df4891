"""Sending to W&B what jobs without internet left in the run directory, from a machine that has it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rzero_mega.errors import UserError
from rzero_mega.lifetime import module_command
from rzero_mega.run import RunDirectory
from rzero_mega.terminal import say
from rzero_mega.tracking.wandb_process import clear_leftovers

# What W&B says of the log of a process that was killed, whose end it can't know to be the end.
_CUT_SHORT = "incomplete record"
# Of a request to W&B; without a bound it tries an address that can't be reached for days.
_RETRIES = "3"


def offline_folders(run: Path) -> list[Path]:
    """W&B's offline folders of a run, oldest first: their names begin with the time."""
    return sorted(path for path in (run / "wandb").glob("offline-run-*") if path.is_dir())


def unsent_folders(run: Path) -> list[Path]:
    """Those that W&B has not taken yet. It marks what it has with a file beside the log."""
    return [folder for folder in offline_folders(run) if not _is_sent(folder)]


def sync_offline(run: RunDirectory) -> str:
    """Upload the offline folders of a run by W&B's own command, which prints what it does; what to say at the end.

    Every process of a run makes a folder of its own under the run's one id, so they arrive as one W&B run. Each is sent
    once: W&B marks what it has taken; the folder of a killed process, which ends in the middle of a record and so is
    never marked by W&B, is marked here. The folder that a process is writing waits. The key is W&B's business, as
    everywhere: the variable WANDB_API_KEY or the netrc file.

    UserError if there is nothing to send now, or W&B is not installed, has no key, or did not take everything.
    """
    if not offline_folders(run.path):
        raise UserError(f"{run.path}: has no offline folders; its jobs were online, or tracking.wandb was disabled")
    folders = unsent_folders(run.path)
    written = max(offline_folders(run.path), key=_last_written) if run.is_alive() else None
    ready = [folder for folder in folders if folder != written]
    if written is not None and not ready:
        raise UserError(f"{written}: the run is still writing this; sync it when its process has ended")
    if importlib.util.find_spec("wandb") is None:
        raise UserError("wandb: not installed here; run this in the environment of the jobs")
    said = _wandb_sync(run.path, ready) if ready else []
    for folder in ready:
        if not _is_sent(folder) and any(_CUT_SHORT in line and folder.name in line for line in said):
            _mark(folder).touch()
    missing = [folder for folder in ready if not _is_sent(folder)]
    if missing:
        raise UserError(
            f"{missing[0]}: W&B did not take this ({len(missing)} of {len(ready)} folders failed); see what it printed "
            "above, then sync again"
        )
    if written is not None:
        return f"offline folders sent: {len(ready)}; {written.name} is still being written, sync again later"
    clear_leftovers(run.path / "wandb", staged=True)
    return f"offline folders sent: {len(ready)}" if ready else "everything was sent before"


def _wandb_sync(run: Path, folders: Sequence[Path]) -> list[str]:
    """The lines that `wandb sync` printed, and prints here too. Its exit code is 0 whatever happens."""
    command = module_command("wandb", "sync", *map(str, folders))
    # WANDB_DIR: its own log lies below the run, not in the working folder.
    environment = {"WANDB_X_GRAPHQL_RETRY_MAX": _RETRIES, **os.environ, "WANDB_DIR": str(run)}
    said = []
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            say(line, end="")
            said.append(line)
    return said


def _log(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("*.wandb"))), folder)


def _mark(folder: Path) -> Path:
    return _log(folder).with_suffix(".wandb.synced")


def _is_sent(folder: Path) -> bool:
    return _mark(folder).exists()


def _last_written(folder: Path) -> float:
    return _log(folder).stat().st_mtime
