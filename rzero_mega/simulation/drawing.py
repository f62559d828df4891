"""How long servers take to draw what they are asked for: the engine's own dispatch and queue, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import exp, log
from statistics import NormalDist
from typing import Any, TypeAlias

from rzero_mega.config.schema import SamplingConfig, SglangConfig
from rzero_mega.rollout.protocol import Decided, Draw, Request, Sample, draws_of
from rzero_mega.rollout.sglang.pool.dispatch import AtEnough, Dispatch, Taken, all_wanted
from rzero_mega.rollout.sglang.pool.needed_draws import NeededDraws
from rzero_mega.rollout.sglang.pool.role_servers import RoleServers
from rzero_mega.rollout.sglang.pool.wire import Version, generate_body
from rzero_mega.simulation.clock import VirtualClockLoop
from rzero_mega.simulation.servers import VERSION, Length, ServerSpeed, VirtualServer

SHORTEST = 8
"""Tokens of the shortest response."""
ENOUGH = 0.95
"""Share of the draws until which slots are looked at: at the end there is nothing left to fill them."""

PER_SLOT = 24
"""Draws per slot of which more are not simulated: what comes on top takes as long as the middle of these."""
MIDDLE = (0.3, 0.9)

Deciding: TypeAlias = Callable[[], Decided]
"""Makes what says of samples, as they come, whether more of their request is needed; for one simulation."""


@dataclass(frozen=True)
class Lengths:
    """Log-normal lengths in tokens; a share `cut_off` runs to the limit of what it is asked for."""

    median: float
    sigma: float
    cut_off: float

    def sample(self, random_numbers: random.Random, limit: int) -> int:
        """A length of at most `limit`."""
        if random_numbers.random() < self.cut_off:
            return limit
        return min(limit, max(SHORTEST, round(exp(random_numbers.gauss(log(self.median), self.sigma)))))

    def mean(self, limit: int) -> float:
        """Tokens of a response on average, of many."""
        if self.sigma == 0:
            return (1 - self.cut_off) * min(self.median, limit) + self.cut_off * limit
        # Of min(X, limit), X log-normal.
        normal, distance = NormalDist(), log(limit / self.median)
        below = self.median * exp(self.sigma**2 / 2) * normal.cdf((distance - self.sigma**2) / self.sigma)
        beyond = limit * (1 - normal.cdf(distance / self.sigma))
        return (1 - self.cut_off) * (below + beyond) + self.cut_off * limit


@dataclass(frozen=True)
class Asked:
    """Draws that are asked for together: so many samples of each of `prompts` prompts, which are all of one length.

    With `one_prompt` they are all the same prompt, as the Challenger's are. What is trained on has `logprobs`.
    """

    prompts: int
    samples: int
    prompt_tokens: int
    limit: int
    lengths: Lengths
    one_prompt: bool = False
    logprobs: bool = False

    @property
    def draws(self) -> int:
        """How many samples that is."""
        return self.prompts * self.samples

    def some(self, share: float) -> Asked:
        """A share of them: fewer prompts, or of a single one fewer samples."""
        if self.prompts == 1:
            return replace(self, samples=max(1, round(share * self.samples)))
        return replace(self, prompts=max(1, round(share * self.prompts)))


@dataclass(frozen=True)
class Fleet:
    """The servers of a role, all alike."""

    servers: int
    speed: ServerSpeed


@dataclass(frozen=True)
class Drawn:
    """What a call of the engine took. `busy_s` are seconds with work, of all servers; `slots` the share taken of them.

    `slots` is over the time until ENOUGH of the draws were over, `pace_s` a draw's seconds in their MIDDLE.
    """

    seconds: float
    draws: int
    tokens: int
    busy_s: float
    slots: float
    pace_s: float

    def of(self, draws: int, servers: int) -> Drawn:
        """Of more such draws, which keep all servers busy."""
        more = (draws - self.draws) * self.pace_s
        tokens = round(self.tokens * draws / self.draws)
        return replace(
            self, seconds=self.seconds + more, draws=draws, tokens=tokens, busy_s=self.busy_s + servers * more
        )


@cache
def draw(
    fleet: Fleet,
    asked: tuple[Asked, ...],
    calls_of: int | None = None,
    groups: int | None = None,
    deciding: Deciding | None = None,
) -> Drawn:
    """The time of one call of the engine for all of these.

    `calls_of` None is the engine's own queue; a number is the way before it: calls of so many draws, each answered when
    all of it is over, and as many calls under way as keep the slots filled once. With `groups` it is over when so many
    prompts have all of their samples; what is decided is aborted.
    """
    whole, most = sum(kind.draws for kind in asked), PER_SLOT * fleet.speed.slots * fleet.servers
    if whole > most:
        part = tuple(kind.some(most / whole) for kind in asked)
        some = None if groups is None else round(groups * most / whole)
        return _simulated(fleet, part, calls_of, some, deciding).of(whole, fleet.servers)
    return _simulated(fleet, asked, calls_of, groups, deciding)


def _simulated(
    fleet: Fleet, asked: tuple[Asked, ...], calls_of: int | None, groups: int | None, deciding: Deciding | None
) -> Drawn:
    requests, kinds = list[Request](), list[tuple[Asked, random.Random]]()
    for number, kind in enumerate(asked):
        sampling = SamplingConfig(max_new_tokens=kind.limit)
        numbers = random.Random(f"lengths/{number}")
        for prompt in range(kind.prompts):
            if not (kind.one_prompt and prompt):
                kinds.append((kind, numbers))
            key, tokens = f"{number}/{prompt}", (len(kinds) - 1,)
            requests.append(Request(key, tokens, kind.samples, sampling, logprobs=kind.logprobs))
    draws = draws_of(requests)
    context = max((kind.prompt_tokens + kind.limit for kind in asked), default=1)

    def length(prompt: Sequence[int], limit: int) -> tuple[int, int]:
        kind, numbers = kinds[prompt[0]]
        return kind.prompt_tokens, kind.lengths.sample(numbers, limit)

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(_draw(fleet, draws, context, length, calls_of, groups, deciding))


async def _draw(
    fleet: Fleet,
    draws: Sequence[Draw],
    context: int,
    length: Length,
    calls_of: int | None,
    groups: int | None,
    deciding: Deciding | None,
) -> Drawn:
    servers = list[VirtualServer]()

    def start(number: int, attempt: int) -> VirtualServer:
        servers.append(VirtualServer(f"server {number}", fleet.speed, length))
        return servers[-1]

    config = SglangConfig(replicas=fleet.servers, max_running_requests=fleet.speed.slots)
    nobody_sends: Any = None
    role = RoleServers("role", start, config, nobody_sends, saves_memory=False)
    role.serve_first_weights()
    over = list[float]()
    if calls_of is None:
        at_enough = AtEnough.DROP if groups is None else AtEnough.STOP
        taken = all_wanted if groups is None else _until(draws, groups)
        unneeded = None if deciding is None else NeededDraws(draws, deciding()).unneeded_after
        if unneeded is not None:
            taken = _noting(over)
        dispatch = Dispatch(
            role, draws, Version(0, VERSION), [], context, taken, at_enough=at_enough, unneeded=unneeded
        )
        await dispatch.draw()
        samples, left = dispatch.outcome()
        assert (len(samples) == len(draws) or groups is not None) and not left
    else:
        await _whole_calls(servers, draws, context, calls_of)
    over = over or sorted(time for server in servers for time in server.usage.over_at)
    assert groups is not None or len(over) == len(draws), "every draw is over once"
    return _drawn(servers, over, fleet)


def _noting(over: list[float]) -> Taken:
    """Notes when draws are over, those too that no server draws to its end."""

    def taken(_position: int, _sample: Sample) -> bool:
        over.append(asyncio.get_running_loop().time())
        return True

    return taken


def _until(draws: Sequence[Draw], groups: int) -> Taken:
    """Takes samples until so many prompts have all of theirs."""
    missing = Counter(draw.request.key for draw in draws)
    keys, whole = {draw.position: draw.request.key for draw in draws}, 0

    def taken(position: int, _sample: Sample) -> bool:
        nonlocal whole
        missing[keys[position]] -= 1
        whole += missing[keys[position]] == 0
        return whole < groups

    return taken


async def _whole_calls(servers: Sequence[VirtualServer], draws: Sequence[Draw], context: int, size: int) -> None:
    """As rollouts went before the queue: whoever has a call answered takes the next `size` draws."""
    batches = (draws[first : first + size] for first in range(0, len(draws), size))

    async def ask(server: VirtualServer) -> None:
        for batch in batches:
            async for _ in server.answers(generate_body(batch, [], context)):
                pass

    callers = [ask(server) for _ in range(1 + servers[0].speed.slots // size) for server in servers]
    await asyncio.gather(*callers)
    for server in servers:
        server.close()


def _drawn(servers: Sequence[VirtualServer], over: Sequence[float], fleet: Fleet) -> Drawn:
    """`over` are the times at which draws were over, in order."""
    draws = len(over)
    enough = over[max(0, int(ENOUGH * draws) - 1)] if over else 0.0
    taken = sum(server.usage.taken_until(enough) for server in servers)
    first, last = (int(share * (draws - 1)) for share in MIDDLE)
    return Drawn(
        pace_s=(over[last] - over[first]) / (last - first) if last > first else 0.0,
        seconds=over[-1] if over else 0.0,
        draws=draws,
        tokens=sum(server.usage.tokens for server in servers),
        busy_s=sum(server.usage.busy_s for server in servers),
        slots=taken / (len(servers) * fleet.speed.slots * enough) if enough else 0.0,
    )
