"""W&B's library held at arm's length: calls that end in time, its own process, and where it puts its files.

The library starts a process, `wandb-core`, and most calls wait for it. One that is stopped, or waits for a network that
is gone, must not hold up a run.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_CORE = "wandb-core"
_TEARDOWN_S = 5.0


def within(seconds: float, action: Callable[[], T]) -> T:
    """Do it in a thread of its own; TimeoutError if it has not come back in time, and then it is left to itself."""
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, name="wandb", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return results[0]


def end_core(wandb: Any) -> None:
    """End W&B's process, by force where it does not answer: the next `init` starts another, and exit waits for none."""
    teardown = getattr(wandb, "teardown", None)
    if teardown is None:
        return
    with suppress(Exception):
        within(_TEARDOWN_S, teardown)
    for process in _cores():
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _cores() -> list[int]:
    """Processes of W&B that this process has started. Linux alone says which."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            # PID (NAME) STATE PARENT ...; a name may hold blanks and brackets.
            before, _, after = stat.read_text(errors="replace").rpartition(")")
            number, _, name = before.partition(" (")
            state, parent = after.split()[:2]
            if name == _CORE and state != "Z" and int(parent) == os.getpid():
                found.append(int(number))
    return found


@contextmanager
def files_below(folder: Path) -> Iterator[None]:
    """Temporary files, and W&B's staged artifacts, lie below `folder` for calls inside: wandb/tmp and wandb/data.

    What is in use is decided by variables of the process and by `tempfile`; both are as before afterwards.
    """
    temporary, data = folder / "tmp", folder / "data"
    temporary.mkdir(parents=True, exist_ok=True)
    variables = {"WANDB_DATA_DIR": data, "WANDB_CACHE_DIR": data / "cache", "WANDB_ARTIFACT_DIR": data / "artifacts"}
    before = {name: os.environ.get(name) for name in variables}
    usual, tempfile.tempdir = tempfile.tempdir, str(temporary)
    os.environ.update({name: str(path) for name, path in variables.items()})
    try:
        yield
    finally:
        tempfile.tempdir = usual
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def clear_leftovers(folder: Path, staged: bool) -> None:
    """Remove what killed processes left in wandb/tmp, and with `staged` also the staged artifacts in wandb/data."""
    for name in ("tmp", *(("data",) if staged else ())):
        shutil.rmtree(folder / name, ignore_errors=True)
