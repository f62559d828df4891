"""Two ranks, one of which works alone, is stopped or hangs: `python -m tests.run.waiting_ranks CASE FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch.distributed as dist

from rzero_mega import spmd
from rzero_mega.atomic import sha256
from rzero_mega.commands.process import run_process
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.learner.megatron.process_groups import _start_distributed, start_process_groups, watched_ranks

HANG_TIMEOUT_S, COLLECTIVE_TIMEOUT_S = 2.0, 3.0


def work_alone() -> str:
    """Longer than a collective may take, and moving all the time: what generation, grading and writing do."""
    deadline = time.monotonic() + 2 * COLLECTIVE_TIMEOUT_S
    while time.monotonic() < deadline:
        time.sleep(0.05)
    return "done"


def late_collective() -> None:
    """Rank 1 lives and moves, and does not come."""
    if spmd.rank() == 1:
        while True:
            time.sleep(0.05)
    dist.barrier()


def on_rank_1(act: Callable[[], object]) -> None:
    if spmd.rank() == 1:
        act()
    spmd.barrier()


def meet(folder: Path) -> None:
    """Wait for the other rank, which may need seconds more than a collective may take to get here."""
    rank = int(os.environ["RANK"])
    (folder / f"here-{rank}").touch()
    while not (folder / f"here-{1 - rank}").exists():
        time.sleep(0.01)


def main(case: str, folder: Path) -> None:
    if case == "late":
        import megatron.core.parallel_state  # noqa: F401 - takes seconds
    meet(folder)
    if case == "late":
        start_process_groups(ParallelLayout(dp=2), 0, COLLECTIVE_TIMEOUT_S)
    else:  # without Megatron, which takes seconds to import
        _start_distributed(2, timedelta(seconds=COLLECTIVE_TIMEOUT_S))
    spmd.barrier()
    cases: dict[str, Callable[[], object]] = {
        "alone": lambda: print(spmd.on_rank_0(work_alone)),
        "stopped": partial(on_rank_1, lambda: os.kill(os.getpid(), signal.SIGSTOP)),
        "hangs": partial(on_rank_1, partial(sha256, folder / "pipe")),
        "late": late_collective,
        "killed": partial(on_rank_1, lambda: os.kill(os.getpid(), signal.SIGKILL)),
    }
    with watched_ranks(HANG_TIMEOUT_S):
        cases[case]()
    spmd.barrier()


if __name__ == "__main__":
    run_process(partial(main, sys.argv[1], Path(sys.argv[2])))
