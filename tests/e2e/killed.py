"""A run that is killed at chosen moments, and what it leaves in the end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.command import run, start


def iterations(folder: Path, name: str) -> Path:
    """The folder of the run's iterations."""
    return folder / "runs" / name / "iterations"


def manifest(folder: Path, name: str, phase: str) -> dict[str, Any]:
    """That of a finished phase, `1/labels` for instance."""
    return dict(json.loads((iterations(folder, name) / phase / "manifest.json").read_text()))


def left(folder: Path, name: str) -> dict[str, Any]:
    """The hashes of what every phase was made from and of what it made, but for rows of metrics, which hold times."""
    root = iterations(folder, name)
    phases = sorted(str(file.parent.relative_to(root)) for file in root.glob("*/*/manifest.json"))
    found = {phase: manifest(folder, name, phase) for phase in phases}
    return {phase: (said["inputs"], {**said["outputs"], "metrics": None}) for phase, said in found.items()}


def run_whole(folder: Path, command: Sequence[str]) -> Path:
    """The folder, with the command's finished run, runs/whole."""
    done = run(folder, *command, "run.name=whole")
    assert done.returncode == 0, done.stderr
    return folder


def run_killed(folder: Path, command: Sequence[str], name: str, signs: Mapping[str, str]) -> None:
    """The command's run of the name, killed as soon as each sign lies among its iterations, then left to its end.

    `signs` are patterns of files by what they are the moment of.
    """
    arguments = [*command, f"run.name={name}"]
    for moment, sign in signs.items():
        process = start(folder, *arguments)
        while not list(iterations(folder, name).glob(sign)) and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        _, said = process.communicate()
        assert process.returncode == -signal.SIGKILL, f"{moment}: {said}"
    done = run(folder, *arguments)
    assert done.returncode == 0, done.stderr
