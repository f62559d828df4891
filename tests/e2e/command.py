"""Starting the command as a user would, at a size that takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.tiny_nano import SIZES

TINY = [
    *SIZES,
    "iterations=1",
    "challenger.training.steps=2",
    "solver.training.steps=3",
    "tracking.wandb=disabled",
]


def start(folder: Path, *arguments: str, **settings: object) -> subprocess.Popen[str]:
    """`rzero-mega ARGUMENTS` in `folder`, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "rzero_mega", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **settings,  # type: ignore[call-overload]
    )


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same, to its end."""
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def tiny(run_name: str, *overrides: str, processes: int = 1) -> list[str]:
    """Arguments of a tiny nano run."""
    return ["run", "nano", *TINY, f"run.name={run_name}", f"learner.processes={processes}", *overrides]


def final_weights(folder: Path, run_name: str) -> dict[str, bytes]:
    """The bytes of the models that the run left."""
    iteration = folder / "runs" / run_name / "iterations" / "1"
    phases = ("challenger", "solver")
    return {phase: (iteration / phase / "model" / "model.safetensors").read_bytes() for phase in phases}


@dataclass(frozen=True)
class Undisturbed:
    """A finished tiny run of two ranks, `runs/undisturbed` in `folder`, and how long the command took."""

    folder: Path
    seconds: float

    def weights(self) -> dict[str, bytes]:
        """The bytes of its models."""
        return final_weights(self.folder, "undisturbed")
