"""Two ranks of a learner whose first one has servers draw: `python -m tests.rollout.control_ranks FOLDER` for each.

Every collective is written down with the group over which it goes. The group of the learner gives up soon.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.phases.drawing import draw_where_possible
from rzero_mega.rollout.protocol import Request
from rzero_mega.rollout.sglang.pool.engine import SglangEngine
from rzero_mega.rollout.sglang.pool.role_servers import RoleServers
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.rollout.sharded import ShardedEngine
from rzero_mega.weights.shape import ModelShape
from tests.rollout.sglang.test_dispatch import Events, Theatre, event
from tests.rollout.sharded_ranks import REQUESTS, StreamEngine

LEARNERS_LIMIT_S = 6.0
LONGER_S = 1.5 * LEARNERS_LIMIT_S
START_S = 120
COLLECTIVES = [
    name
    for name in dir(dist.ProcessGroup)
    if name.lstrip("_").startswith(("all", "barrier", "broadcast", "gather", "recv", "reduce", "scatter", "send"))
    and callable(getattr(dist.ProcessGroup, name))
]


class Spy:
    """Collectives of this process: during what, whether over the learner's group, over which backend, bytes."""

    def __init__(self) -> None:
        self.during = "start"
        self.seen: list[tuple[str, bool, str, int]] = []
        for name in COLLECTIVES:
            setattr(dist.ProcessGroup, name, self._watched(getattr(dist.ProcessGroup, name)))

    def _watched(self, collective: Callable[..., Any]) -> Callable[..., Any]:
        def watched(group: dist.ProcessGroup, *arguments: Any, **options: Any) -> Any:
            learners = group is dist.group.WORLD
            self.seen.append((self.during, learners, dist.get_backend(group), _nbytes(arguments)))
            return collective(group, *arguments, **options)

        return watched


def _nbytes(arguments: object) -> int:
    if isinstance(arguments, torch.Tensor):
        return arguments.nbytes
    return sum(map(_nbytes, arguments)) if isinstance(arguments, list | tuple) else 0


class OneRole:
    """A `ServerPool` of servers that are there; the first rank has them."""

    def __init__(self, servers: RoleServers | None) -> None:
        self.roles = {} if servers is None else {"solver": servers}

    def make_room(self) -> None:
        pass

    def take_turn(self, role: str, needed: Iterable[str] = ()) -> None:
        pass

    def await_first(self, role: str) -> None:
        pass


def engine_of(rank: int, waits_s: Sequence[float]) -> SglangEngine:
    """An engine whose servers wait so long before they answer a call, in order, and then not at all."""
    left = list(waits_s)

    async def answer(_name: str, body: Mapping[str, Any]) -> Events:
        await asyncio.sleep(left.pop(0) if left else 0)
        for index in range(len(body["input_ids"])):
            said = event(body, index)
            said["meta_info"]["weight_versions"] = [{"version": "solver-1-0"}]
            yield said

    pool = OneRole(Theatre(answer).role if rank == 0 else None)
    shape = cast(ModelShape, None)  # for updates
    return SglangEngine(cast(ServerPool, pool), "solver", 1, [], shape, [2], context=10)


def requests(count: int, logprobs: bool) -> list[Request]:
    return [Request(str(i), (i,), 1, SamplingConfig(), logprobs=logprobs) for i in range(count)]


def main(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    store = dist.FileStore(str(folder / "store"), 2)  # type: ignore[attr-defined]
    store.set(f"{rank} is there", "")
    store.wait([f"{one} is there" for one in range(2)], timedelta(seconds=START_S))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=LEARNERS_LIMIT_S))
    spy, engine, found = Spy(), engine_of(rank, [LONGER_S]), dict[str, Any]()
    spy.during, began = "rollouts", time.monotonic()
    found["rollouts"] = len(engine.generate(requests(40, logprobs=True)))
    found["took"] = time.monotonic() - began
    for count in (10, 100):
        spy.during = f"{count} votes"
        found[spy.during] = len(draw_where_possible(engine, requests(count, logprobs=False)))
    spy.during = "embedded"
    found["embedded"] = len(ShardedEngine(StreamEngine()).generate(REQUESTS))
    spy.during = "learner"
    dist.all_reduce(torch.ones(2))
    (folder / f"{rank}.json").write_text(json.dumps({**found, "seen": spy.seen}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
