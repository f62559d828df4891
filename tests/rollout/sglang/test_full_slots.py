"""Servers are never short of work: real scheduling against servers on a virtual clock."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from typing import cast

import pytest
import torch

from rzero_mega.config.schema import SamplingConfig, SglangConfig
from rzero_mega.planning.assumptions import shipped
from rzero_mega.planning.hardware import GPUS
from rzero_mega.planning.models import model_named
from rzero_mega.planning.servers import DecodeStep
from rzero_mega.rollout.protocol import Request, Sample
from rzero_mega.rollout.sglang.pool.engine import SglangEngine
from rzero_mega.rollout.sglang.pool.role_servers import RoleServers
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.rollout.sglang.pool.server_work import BusyPeriod, Nobody, Observer
from rzero_mega.simulation.clock import VirtualClockLoop
from rzero_mega.simulation.drawing import Lengths
from rzero_mega.simulation.servers import ServerSpeed, VirtualServer
from rzero_mega.weights.shape import ModelShape
from rzero_mega.weights.sources import GatheredWeights
from tests.rollout.sglang.stand_in import NO_WEIGHTS

# As many draws per slot as an iteration's votes have: 2,048 questions, ten votes each, on four servers of 256 slots.
SERVERS, SLOTS, DRAWS_PER_SLOT, SAMPLES = 4, 64, 20, 10
LIMIT, PROMPT = 4096, 150
LENGTHS = Lengths(median=600, sigma=0.6, cut_off=0.03)
ON_AN_H100 = DecodeStep(model_named("Qwen3-8B"), GPUS["H100"], 1, 2, shipped().decoding)


class OneRole:
    """What an engine needs of a pool whose servers are there and stay awake."""

    def __init__(self, servers: RoleServers) -> None:
        self.roles = {"solver": servers}

    def make_room(self) -> None:
        pass

    def take_turn(self, role: str, needed: frozenset[str]) -> None:
        pass

    def await_first(self, role: str) -> None:
        pass


@pytest.fixture
def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio.events.new_event_loop", VirtualClockLoop)


class Told(Nobody):
    """Remembers what servers did."""

    def __init__(self) -> None:
        self.periods: list[BusyPeriod] = []

    def drawn(self, periods: Sequence[BusyPeriod], now: float) -> None:
        self.periods += periods

    def slots_used(self, number: int) -> float:
        return sum(p.slot_seconds for p in self.periods if p.number == number)

    def draws(self, number: int) -> int:
        return sum(p.draws for p in self.periods if p.number == number)


def engine_on(servers: list[VirtualServer], observer: Observer) -> SglangEngine:
    chance, speed = random.Random(5), ServerSpeed(SLOTS, math.inf, ON_AN_H100, call_s=0.02)

    def length(prompt: Sequence[int], limit: int) -> tuple[int, int]:
        return len(prompt), LENGTHS.sample(chance, limit)

    def start(number: int, attempt: int) -> VirtualServer:
        servers.append(VirtualServer(f"server{number}", speed, length, version="solver-1-0"))
        return servers[-1]

    config = SglangConfig(replicas=SERVERS, max_running_requests=SLOTS)
    role = RoleServers("solver", start, config, NO_WEIGHTS, saves_memory=False, observer=observer)
    role.serve_first_weights()
    no_weights = GatheredWeights(lambda: iter(dict[str, torch.Tensor]().items()), bucket_bytes=1)
    shape = cast(ModelShape, None)  # asked for at updates alone
    return SglangEngine(cast(ServerPool, OneRole(role)), "solver", 1, no_weights, shape, [2], context=8192)


@pytest.mark.parametrize("units", [None, 8], ids=["generate", "units"])
def test_slots_are_full_until_the_last_draws(units: int | None, virtual_clock: None) -> None:
    draws = SERVERS * SLOTS * DRAWS_PER_SLOT
    servers: list[VirtualServer] = []
    told = Told()
    engine = engine_on(servers, told)
    requests = [
        Request(f"r{i}", (i,) * PROMPT, SAMPLES, SamplingConfig(max_new_tokens=LIMIT)) for i in range(draws // SAMPLES)
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
    drawn_at = sorted(time for server in servers for time in server.usage.over_at)
    end = drawn_at[math.ceil(0.95 * draws) - 1]
    shares = [server.usage.taken_until(end) / (SLOTS * end) for server in servers]
    print(f"slots taken until 95 % of {draws} draws were there: {', '.join(f'{share:.1%}' for share in shares)}")
    assert min(shares) >= 0.95
    whole = [server.usage.taken_until(math.inf) for server in servers]
    assert max(whole) < 1.1 * min(whole)
    # What the dispatch counts is what servers do, but for the time in which draws and samples are on their way.
    for number, server in enumerate(servers):
        assert told.draws(number) == len(server.usage.over_at)
        assert told.slots_used(number) == pytest.approx(whole[number], rel=0.01)


def test_the_clock_of_the_loop_is_virtual(virtual_clock: None) -> None:
    async def an_hour() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert asyncio.run(an_hour()) == pytest.approx(3600)
