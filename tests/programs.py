"""Programs of tests: modules that run in processes of their own, forked from one that has imported `imported`.

That one is started with the first program of a session, and starts nothing else. A program ends with the process that
started it, however that ends, and the one that has imported ends with the last of both.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import Thread

import torch

from rzero_mega.lifetime import PARENT
from tests import ROOT

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.imported"])


def start_program(module: str, argument: Path, output: Path, **environment: str) -> ForkServerProcess:
    """`python -m module argument > output 2>&1` in this process's environment and more, with one thread."""
    values = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", **environment}
    values.pop(PARENT, None)  # it is not this process
    program = _FORKS.Process(target=_run, args=(module, argument, output, values), daemon=True)
    program.start()
    return program


def exit_code(program: ForkServerProcess, patience_s: float) -> int | None:
    """Of a program that has ended; None of one that had to be killed, as it took longer."""
    program.join(patience_s)
    code = program.exitcode
    if code is None:
        program.kill()
        program.join()
    return code


def _run(module: str, argument: Path, output: Path, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [module, str(argument)]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
