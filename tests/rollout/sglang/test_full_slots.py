"""Servers are never short of work: real scheduling against servers on a virtual clock."""

from __future__ import annotations

import asyncio
import random
from typing import cast

import pytest
import torch

from rzero_mega.config.schema import SamplingConfig, SglangConfig
from rzero_mega.rollout.protocol import Request, Sample
from rzero_mega.rollout.sglang.pool.engine import SglangEngine
from rzero_mega.rollout.sglang.pool.role_servers import RoleServers
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.simulation.clock import VirtualClockLoop
from rzero_mega.weights.shape import ModelShape
from rzero_mega.weights.sources import GatheredWeights
from tests.rollout.sglang.stand_in import NO_WEIGHTS
from tests.rollout.sglang.virtual_servers import VirtualServer, h100_step_s, until_drawn

# As many draws per slot as an iteration's votes have: 2,048 questions, ten votes each, on four servers of 256 slots.
SERVERS, SLOTS, DRAWS_PER_SLOT, SAMPLES = 4, 64, 20, 10
LIMIT, MEDIAN, SPREAD, CUT_OFF = 4096, 600, 0.6, 0.03


class OneRole:
    """What an engine needs of a pool whose servers are there and stay awake."""

    def __init__(self, servers: RoleServers) -> None:
        self.roles = {"solver": servers}

    def make_room(self) -> None:
        pass

    def take_turn(self, role: str, needed: frozenset[str]) -> None:
        pass


def lengths(draws: int) -> list[int]:
    """Tokens of responses: log-normal, and of some the whole limit."""
    drawn = random.Random(5)
    return [
        LIMIT if drawn.random() < CUT_OFF else min(LIMIT, max(8, round(MEDIAN * 2.718 ** drawn.gauss(0, SPREAD))))
        for _ in range(draws)
    ]


@pytest.fixture
def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio.events.new_event_loop", VirtualClockLoop)


def engine_on(servers: list[VirtualServer], length: list[int]) -> SglangEngine:
    def start(number: int, attempt: int) -> VirtualServer:
        def length_of(token: int) -> int:
            # Draws of a prompt differ; which of them comes first makes no difference to what is measured.
            return length[token * SAMPLES + drawn[token]]

        def next_length(token: int) -> int:
            found = length_of(token)
            drawn[token] += 1
            return found

        servers.append(VirtualServer(f"server{number}", SLOTS, next_length, h100_step_s, "solver-1-0"))
        return servers[-1]

    drawn = [0] * (len(length) // SAMPLES)
    config = SglangConfig(replicas=SERVERS, max_running_requests=SLOTS)
    role = RoleServers("solver", start, config, NO_WEIGHTS, saves_memory=False)
    role.serve_first_weights()
    no_weights = GatheredWeights(lambda: iter(dict[str, torch.Tensor]().items()), bucket_bytes=1)
    shape = cast(ModelShape, None)  # asked for at updates alone
    return SglangEngine(cast(ServerPool, OneRole(role)), "solver", 1, no_weights, shape, [2], context=8192)


@pytest.mark.parametrize("units", [None, 8], ids=["generate", "units"])
def test_slots_are_full_until_the_last_draws(units: int | None, virtual_clock: None) -> None:
    draws = SERVERS * SLOTS * DRAWS_PER_SLOT
    servers: list[VirtualServer] = []
    engine = engine_on(servers, lengths(draws))
    requests = [
        Request(f"r{i}", (i,) * 150, SAMPLES, SamplingConfig(max_new_tokens=LIMIT)) for i in range(draws // SAMPLES)
    ]
    if units is None:
        samples = engine.generate(requests)
    else:
        samples = []
        in_units = [requests[start : start + units] for start in range(0, len(requests), units)]

        def arrived(number: int, found: list[Sample]) -> bool:
            assert [s.key for s in found] == [r.key for r in in_units[number] for _ in range(r.n)]
            samples.extend(found)
            return True

        engine.generate_units(in_units, arrived)
    assert len(samples) == len({(sample.key, sample.index) for sample in samples}) == draws
    end = until_drawn(servers, 0.95)
    shares = [server.usage.share_until(end) for server in servers]
    print(f"slots taken until 95 % of {draws} draws were there: {', '.join(f'{share:.1%}' for share in shares)}")
    assert min(shares) >= 0.95
    whole = [sum(s * (u - b) for b, u, s in server.usage.spans) for server in servers]
    assert max(whole) < 1.1 * min(whole)


def test_the_clock_of_the_loop_is_virtual(virtual_clock: None) -> None:
    async def an_hour() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert asyncio.run(an_hour()) == pytest.approx(3600)
