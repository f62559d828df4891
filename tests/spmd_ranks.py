"""Two ranks over gloo, one of which fails in every way: `python -m tests.spmd_ranks FOLDER` for each."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import torch.distributed as dist

from rzero_mega import spmd
from rzero_mega.errors import UserError

calls: list[str] = []


def note(what: str) -> str:
    calls.append(what)
    return f"{what} of rank {spmd.rank()}"


def fail(message: str) -> None:
    raise UserError(message)


def fail_on(rank: int) -> None:
    if spmd.rank() == rank:
        fail(f"rank {rank} has no room")


def stream(taken: list[int]) -> Iterator[int]:
    for item in range(3):
        taken.append(item)
        yield item


def fail_after_one_on(rank: int, items: Iterator[int]) -> None:
    next(items)
    fail_on(rank)
    list(items)


def outcome(function: Callable[..., object], *arguments: object) -> list[object]:
    try:
        return ["returned", function(*arguments)]
    except UserError as error:
        return [type(error).__name__, str(error)]


def beside(group: dist.ProcessGroup | None) -> list[str]:
    """What two threads get, each over a group of its own, at the same time."""
    found: dict[str, list[str]] = {"thread": [], "main": []}

    def work(name: str) -> None:
        for number in range(20):
            found[name].append(spmd.on_rank_0(note, f"{name} {number}"))

    def work_in_thread() -> None:
        with spmd.use_group(group):
            work("thread")

    thread = threading.Thread(target=work_in_thread)
    thread.start()
    work("main")
    thread.join()
    return found["thread"] + found["main"]


def main(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    taken: list[int] = []
    items = stream(taken)
    taken_1: list[int] = []
    items_of_1 = stream(taken_1)
    found = {
        "result": outcome(spmd.on_rank_0, note, "result"),
        "calls": list(calls),
        "kept": outcome(spmd.kept_on_rank_0, note, "kept"),
        "error on 0, kept": outcome(spmd.kept_on_rank_0, fail, "no such folder"),
        "gathered": spmd.gather(f"of rank {rank}"),
        "error on 0": outcome(spmd.on_rank_0, fail, "no such folder"),
        "error on 1": outcome(spmd.on_all_ranks, fail_on, 1),
        "no error": outcome(spmd.on_all_ranks, fail_on, 2),
        "write failed on 0": outcome(spmd.all_ranks_write, items, fail_after_one_on, 0, items),
        "taken, failed on 0": taken,
        "write failed on 1": outcome(spmd.all_ranks_write, items_of_1, fail_after_one_on, 1, items_of_1),
        "taken, failed on 1": taken_1,
        "threads": beside(spmd.new_group()),
    }
    (folder / f"{rank}.json").write_text(json.dumps(found))
    spmd.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
