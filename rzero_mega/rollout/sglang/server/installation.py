"""What is installed where the learner runs and where servers run: two environments, which need not be the same.

SGLang names the torch and the transformers that it works with exactly, and no image with the learner's holds them. Only
metadata is read here: nothing of it is imported.
"""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rzero_mega.errors import UserError

# The release whose requests and answers this package knows; Makefile and tools/sglang-gpu.txt name the same one.
SGLANG = "0.5.23"
LEARNERS = ("torch", "transformers", "megatron-core", "transformer-engine")
SERVERS = ("sglang", "torch", "transformers")
NCCL = ("nvidia-nccl-cu13", "nvidia-nccl-cu12")
OLDEST_PYTHON = (3, 11)
ASK_S = 60.0
_ASK = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps([list(sys.version_info[:3]), found]))
"""
# What would have another interpreter look into the environment of the one that starts it.
_PYTHONS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
_LIBRARIES = ("LD_LIBRARY_PATH", "LD_PRELOAD")


@dataclass(frozen=True)
class Installation:
    """An interpreter, its version, and the versions of those packages that it has of the ones asked for."""

    python: Path
    version: tuple[int, ...]
    packages: Mapping[str, str]

    def __str__(self) -> str:
        """One line."""
        versions = {"Python": ".".join(map(str, self.version)), **self.packages}
        return f"{', '.join(f'{name} {version}' for name, version in versions.items())} ({self.python})"


def this_python() -> Path:
    """The interpreter of this process."""
    return Path(sys.executable)


def servers_python(named: str | None) -> Path:
    """The interpreter that `rollout.sglang.python` names, by its full path; this process's where it names none.

    Links stay as they are: that of a virtual environment leads out of it.
    """
    return this_python() if named is None else Path(named).expanduser().absolute()


def learning() -> Installation:
    """What the learner runs with."""
    return Installation(this_python(), sys.version_info[:3], _found(LEARNERS))


def installation(python: Path, packages: Iterable[str]) -> Installation:
    """Ask an interpreter what it has. UserError if it can't be started or doesn't answer."""
    if python == this_python():
        return Installation(python, sys.version_info[:3], _found(packages))
    key = "rollout.sglang.python"
    if not (python.is_file() and os.access(python, os.X_OK)):
        raise UserError(f"{key}: {python} is no program here; name the interpreter of the environment with SGLang")
    environment = environment_for(python, os.environ)
    command = [str(python), "-c", _ASK, *packages]
    try:
        asked = subprocess.run(
            command, env=environment, capture_output=True, timeout=ASK_S, cwd="/", stdin=subprocess.DEVNULL
        )
        release, found = json.loads(asked.stdout)
        return Installation(python, tuple(map(int, release)), {str(name): str(has) for name, has in found.items()})
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{key}: {python} does not answer as a Python interpreter does; is it one?") from error


def check_serving(python: Path) -> Installation:
    """What servers run with. UserError if the interpreter can't run them: too old, or without SGLANG."""
    found = installation(python, SERVERS)
    if found.version < OLDEST_PYTHON:
        has, oldest = (".".join(map(str, numbers[:2])) for numbers in (found.version, OLDEST_PYTHON))
        raise UserError(f"rollout.sglang.python: {python} is Python {has}; servers need {oldest} or newer")
    release = found.packages.get("sglang")
    if release is None:
        raise UserError(
            f"rollout.engine is sglang, which is not installed for {python}: `make sglang-cpu`; on a machine with GPUs "
            "`make gpu` and rollout.sglang.python=.venv-sglang/bin/python"
        )
    if release != SGLANG:
        raise UserError(f"rollout.sglang.python: {python} has SGLang {release}; this version speaks to {SGLANG}")
    return found


def nccl_of(python: Path) -> str | None:
    """Release of NCCL that torch has in the environment of `python`; None where no package of its own holds it."""
    found = installation(python, NCCL).packages
    return next((found[name] for name in NCCL if name in found), None)


def environment_for(python: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` as a process of `python` may see it: `environ` itself where that is the interpreter of this process.

    For another one nothing points into this process's environment: PYTHONPATH is gone, and so is every entry of
    LD_LIBRARY_PATH and LD_PRELOAD below a folder of this interpreter's packages (images put torch's libraries there).
    Programs of the other environment, such as ninja, are found first.
    """
    if python == this_python():
        return dict(environ)
    environment = {name: value for name, value in environ.items() if name not in _PYTHONS}
    for name in _LIBRARIES:
        if name in environment:
            kept = [entry for entry in environment[name].split(os.pathsep) if not _is_ours(entry)]
            environment[name] = os.pathsep.join(kept)
    environment["PATH"] = os.pathsep.join([str(python.parent), environ.get("PATH", os.defpath)])
    return environment


def _found(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _is_ours(entry: str) -> bool:
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    return any(Path(entry).is_relative_to(folder) for folder in folders if entry)
