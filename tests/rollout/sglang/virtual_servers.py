"""Servers whose time is an event loop's own: they decode as fast as a formula says, and hours pass in a second."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from rzero_mega.rollout.sglang.server.answer_streams import AnswerStreams
from rzero_mega.rollout.sglang.server.client import SglangClient
from tests.rollout.sglang.stand_in import StandInServer

LATENCY_S = 0.02


@dataclass
class Usage:
    """What a server's slots did: (until when, how many were taken), and when samples were drawn."""

    slots: int
    spans: list[tuple[float, float, int]] = field(default_factory=list)
    drawn_at: list[float] = field(default_factory=list)

    def share_until(self, end: float) -> float:
        """Share of the slots that were taken, on average over the time until `end`."""
        taken = sum((min(until, end) - since) * running for since, until, running in self.spans if since < end)
        return taken / (self.slots * end)


class VirtualServer(StandInServer):
    """Decodes up to `slots` draws at a time, a token of each in `step_s(draws)` seconds; `length` is of a draw."""

    def __init__(
        self,
        name: str,
        slots: int,
        length: Callable[[int], int],
        step_s: Callable[[int], float],
        on_server: str,
    ) -> None:
        """`length` gets the first token of the prompt, and the most tokens that are asked for bound what it says."""
        super().__init__(name, [])
        self.usage = Usage(slots)
        self.slots, self.length, self.step_s, self.on_server = slots, length, step_s, on_server

    def client(self, name: str, timeout_s: float) -> SglangClient:
        server = self

        class Client(SglangClient):
            def streams(self) -> AnswerStreams:
                return _Streams(server)

            def responds(self, timeout_s: float) -> bool:
                return True

        return Client(name, f"http://{self.name}")


Finished = Callable[[], None]


class _Streams(AnswerStreams):
    def __init__(self, server: VirtualServer) -> None:
        self._server = server
        self._waiting: deque[tuple[int, Finished]] = deque()
        self._came = asyncio.Event()
        self._work = asyncio.get_running_loop().create_task(self._decode())

    async def answers(self, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        await asyncio.sleep(LATENCY_S)
        prompts = body["input_ids"]
        over: asyncio.Queue[int] = asyncio.Queue()
        for index, (prompt, parameters) in enumerate(zip(prompts, body["sampling_params"], strict=True)):
            length = min(self._server.length(prompt[0]), parameters["max_new_tokens"])
            self._waiting.append((length, lambda index=index: over.put_nowait(index)))  # type: ignore[misc]
        self._came.set()
        for _ in prompts:
            index = await over.get()
            yield {
                "index": index,
                "output_ids": [prompts[index][0]],
                "meta_info": {
                    "finish_reason": {"type": "stop"},
                    "weight_versions": [{"version": self._server.on_server}],
                    "output_token_logprobs": [[-0.5, prompts[index][0], None]],
                },
            }

    async def close(self) -> None:
        self._work.cancel()

    async def _decode(self) -> None:
        """Steps of all running draws together; who is over makes room for who waits."""
        loop, usage = asyncio.get_running_loop(), self._server.usage
        running: list[tuple[float, int, Finished]] = []  # by the step at which each is over
        number, step = count(), 0.0
        while True:
            while self._waiting and len(running) < self._server.slots:
                length, finished = self._waiting.popleft()
                heapq.heappush(running, (step + length, next(number), finished))
            self._came.clear()
            if not running:
                await self._came.wait()
                continue
            since, pace = loop.time(), self._server.step_s(len(running))
            until_over = (running[0][0] - step) * pace
            if len(running) < self._server.slots:
                await self._wait_for_work(until_over)
            else:
                await asyncio.sleep(until_over)
            usage.spans.append((since, loop.time(), len(running)))
            step += (loop.time() - since) / pace
            while running and running[0][0] <= step + 1e-6:
                heapq.heappop(running)[2]()
                usage.drawn_at.append(loop.time())

    async def _wait_for_work(self, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await self._came.wait()
        except TimeoutError:
            pass


def h100_step_s(running: int) -> float:
    """Seconds of a decode step of Qwen3-8B on an H100: weights, and 750 tokens of cache per sequence, at 2.6 TB/s."""
    return 1.5e-3 + 6e-6 * running + (16.4e9 + running * 750 * 147_456) / 2.6e12


def until_drawn(servers: list[VirtualServer], share: float) -> float:
    """When that share of all draws was drawn."""
    times = sorted(time for server in servers for time in server.usage.drawn_at)
    return times[math.ceil(share * len(times)) - 1]
