"""Environments of their own: interpreters that have nothing, or what servers need and no more."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

# What servers must do without.
LEARNERS_ALONE = ("megatron", "rzero_mega", "wandb", "omegaconf", "__editable__")


def bare_environment(folder: Path) -> Path:
    """The interpreter of a new environment without packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


def servers_environment(folder: Path) -> Path:
    """The interpreter of an environment with SGLang and what it needs, which lies where this one has it."""
    python = bare_environment(folder)
    (packages,) = folder.glob("lib/*/site-packages")
    for path in Path(str(distribution("sglang").locate_file(""))).iterdir():
        if not path.name.startswith(LEARNERS_ALONE) and path.suffix != ".pth":
            (packages / path.name).symlink_to(path)
    return python


def poisoned(folder: Path, *names: str) -> Path:
    """A folder for PYTHONPATH in which these modules can't be imported."""
    folder.mkdir()
    for name in names:
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} of another environment')\n")
    return folder
