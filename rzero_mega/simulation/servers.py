"""SGLang servers in virtual time: they take the bodies that real ones take, and answer when a real one would have."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from rzero_mega.planning.servers import DecodeStep
from rzero_mega.rollout.sglang.server.answer_streams import AnswerStreams
from rzero_mega.rollout.sglang.server.client import SglangClient

VERSION = "simulated"
# Of a draw's longest response, room for which SGLang sees before it takes the draw in: its `new_token_ratio` at rest
# (SGLANG_INIT_NEW_TOKEN_RATIO 0.7 times SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR 0.14).
RESERVED = 0.098
Length = Callable[[Sequence[int], int], tuple[int, int]]
"""Tokens of a prompt, and of the next answer to it, of which no more are asked for than the second argument says.

Prompts themselves are shorter than what they stand for.
"""


@dataclass(frozen=True)
class ServerSpeed:
    """What a server can do: the seconds of its steps by `decode`.

    It decodes up to `slots` draws at a time, as far as what they have and RESERVED of the longest response of each fit
    into `kv_tokens`; what it would take back from draws that turn out longer is not modelled. A call is there `call_s`
    after it was made.
    """

    slots: int
    kv_tokens: float
    decode: DecodeStep
    call_s: float


@dataclass
class Usage:
    """What a server did: (since when, until when, draws running), and when draws were over."""

    spans: list[tuple[float, float, int]] = field(default_factory=list)
    over_at: list[float] = field(default_factory=list)
    tokens: int = 0

    @property
    def busy_s(self) -> float:
        """Seconds in which it had anything to do."""
        return sum(until - since for since, until, _ in self.spans)

    def taken_until(self, end: float) -> float:
        """Slots that were taken, times the seconds that they were before `end`."""
        return sum((min(until, end) - since) * running for since, until, running in self.spans if since < end)


@dataclass(frozen=True)
class _Request:
    """A draw: the call that asks for it calls it so."""

    name: str
    prompt: tuple[int, ...]
    prompt_tokens: int
    length: int
    limit: int
    over: Callable[[str], None]


@dataclass(frozen=True, order=True)
class _Running:
    """A request in a slot, which is over at that step; `number` tells those apart that are over at the same one."""

    over_at: float
    number: int
    request: _Request = field(compare=False)


class VirtualServer:
    """A `ServerHandle`. All that it does happens in the event loop that asks it."""

    log = Path("server.log")

    def __init__(self, name: str, speed: ServerSpeed, length: Length, version: str = VERSION) -> None:
        """`version` is that of the weights by which it says that it draws."""
        self.name, self.speed, self.length, self.version = name, speed, length, version
        self.usage = Usage()
        self._waiting: deque[_Request] = deque()
        self._came = asyncio.Event()
        self._decoder: asyncio.Task[None] | None = None
        self._factor = 1.0
        self._running: list[_Running] = []
        # Of the steps under way: since when, and seconds of one.
        self._since, self._pace = 0.0, math.inf
        self._number, self._step, self._cached = count(), 0.0, 0.0
        self._known: set[tuple[int, ...]] = set()

    @property
    def where(self) -> str:
        """Nowhere."""
        return "simulated"

    def client(self, name: str, timeout_s: float) -> SglangClient:
        """A client that speaks to this object."""
        return VirtualClient(self)

    def alive(self) -> bool:
        return True

    def ready(self) -> bool:
        return True

    def wait_ready(self, timeout_s: float) -> None:
        pass

    def reason(self) -> str:
        return ""

    def stop(self) -> None:
        self.close()

    def close(self) -> None:
        """There are no further calls."""
        if self._decoder is not None:
            self._decoder.cancel()
            self._decoder = None

    async def answers(self, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Events as SGLang streams them: of every sample the last one alone, which is all that is read of it."""
        if self._decoder is None:
            self._decoder = asyncio.get_running_loop().create_task(self._decode())
        await asyncio.sleep(self.speed.call_s)
        over: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        # All draws of a call of the engine want them, or none.
        self._factor = self.speed.decode.decoding.logprobs_factor if any(body["return_logprob"]) else 1.0
        for index, (prompt, parameters) in enumerate(zip(body["input_ids"], body["sampling_params"], strict=True)):
            key = tuple(prompt)
            limit, name = parameters["max_new_tokens"], body["rid"][index] if "rid" in body else ""
            self._waiting.append(_Request(name, key, *self.length(key, limit), limit, partial(_tell, over, index)))
        self._came.set()
        for _ in body["input_ids"]:
            yield self._last_event(*await over.get())

    def abort_all(self) -> None:
        """Whatever waits or runs is over, unfinished."""
        self._abort(lambda _request: True)

    def abort(self, name: str) -> None:
        """As `abort_all`, of the request of that name."""
        self._abort(lambda request: request.name == name)

    def _abort(self, chosen: Callable[[_Request], bool]) -> None:
        if self._decoder is None:
            return
        self._decoder.cancel()
        loop = asyncio.get_running_loop()
        running, waiting = self._running, self._waiting
        if running:
            self.usage.spans.append((self._since, loop.time(), len(running)))
        done = max(0.0, loop.time() - self._since) / self._pace
        self._step += done
        self._cached += done * len(running)
        self._running, self._waiting = [], deque(request for request in waiting if not chosen(request))
        for one in running:
            if not chosen(one.request):
                self._running.append(one)
                continue
            left = max(0.0, one.over_at - self._step)
            self.usage.tokens -= int(left)
            self._cached -= one.request.prompt_tokens + one.request.length - left
            one.request.over("abort")
        heapq.heapify(self._running)
        for request in waiting:
            if chosen(request):
                request.over("abort")
        self._decoder = loop.create_task(self._decode())

    async def _decode(self) -> None:
        """Steps of all running draws together; who is over makes room for who waits."""
        loop = asyncio.get_running_loop()
        while True:
            prefilled = self._admit()
            if not self._running:
                await self._came.wait()
                continue
            since, running = loop.time(), len(self._running)
            self._since, self._pace = since, math.inf
            if prefilled:
                await asyncio.sleep(self.speed.decode.prefill_seconds(prefilled))
            before = loop.time()
            steps = self._running[0].over_at - self._step
            # A step grows with the cache, by as much with every step.
            pace = self._factor * self.speed.decode.seconds(running, self._cached + running * steps / 2)
            self._pace = pace
            await self._until(steps * pace, full=running == self.speed.slots)
            done = min(steps, (loop.time() - before) / pace)
            self._step += done
            self._cached += done * running
            self.usage.spans.append((since, loop.time(), running))
            self._finish()

    def _admit(self) -> float:
        """Take in draws that wait, as far as there is room; tokens of their prompts that no draw has brought before."""
        speed, new = self.speed, 0.0
        while self._waiting and len(self._running) < speed.slots:
            draw = self._waiting[0]
            needed = draw.prompt_tokens + (1 + len(self._running)) * RESERVED * draw.limit
            if self._running and self._cached + needed > speed.kv_tokens:
                break
            self._waiting.popleft()
            if draw.prompt not in self._known:
                self._known.add(draw.prompt)
                new += draw.prompt_tokens
            heapq.heappush(self._running, _Running(self._step + draw.length, next(self._number), draw))
            self._cached += draw.prompt_tokens
            self.usage.tokens += draw.length
        self._came.clear()
        return new

    async def _until(self, seconds: float, full: bool) -> None:
        """As long as that; less if draws come while there is room for them."""
        if full:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._came.wait()

    def _last_event(self, index: int, finish: str) -> dict[str, Any]:
        return {
            "index": index,
            "output_ids": [0],
            "meta_info": {
                "finish_reason": {"type": finish},
                "weight_versions": [{"version": self.version}],
                "output_token_logprobs": [[-0.5, 0, None]],
            },
        }

    def _finish(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._running and self._running[0].over_at <= self._step + 1e-6:
            request = heapq.heappop(self._running).request
            self._cached -= request.prompt_tokens + request.length
            request.over("stop" if request.length < request.limit else "length")
            self.usage.over_at.append(now)


def _tell(over: asyncio.Queue[tuple[int, str]], index: int, finish: str) -> None:
    over.put_nowait((index, finish))


class VirtualClient(SglangClient):
    """Speaks to a `VirtualServer` in the same process, and over no network."""

    def __init__(self, server: VirtualServer) -> None:
        self._server = server
        self._name, self._url = server.name, server.where

    def streams(self) -> AnswerStreams:
        """Its answers."""
        return _Streams(self._server)

    def responds(self, timeout_s: float) -> bool:
        """It always does."""
        return True

    def abort_all(self) -> None:
        """Nothing: what is still asked ends with the event loop."""

    def close(self) -> None:
        """Nothing is open."""


class _Streams(AnswerStreams):
    def __init__(self, server: VirtualServer) -> None:
        self._server = server

    def answers(self, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        return self._server.answers(body)

    async def abort_all(self) -> None:
        self._server.abort_all()

    async def abort(self, name: str) -> None:
        self._server.abort(name)

    async def close(self) -> None:
        self._server.close()
