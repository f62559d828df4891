"""Rank 0 writes what all ranks gather."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rzero_mega import spmd


def rank_0_writes(stream: Iterable[object], write: Callable[[], None]) -> None:
    """Call `write`, which consumes `stream`, on rank 0 while the other ranks take part in gathering its items.

    A UserError on any rank ends all.
    """

    def take_part() -> None:
        try:
            if spmd.rank() == 0:
                write()
        finally:
            for _ in stream:  # other ranks, and rank 0 after a failed write, take part in gathering to the end
                pass

    spmd.on_all_ranks(take_part)
