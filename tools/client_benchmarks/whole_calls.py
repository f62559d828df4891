"""What the engine did before it had a queue: calls of many draws, each answered when all of them are drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from rzero_mega.rollout.protocol import Draw, Sample
from rzero_mega.rollout.sglang.pool.wire import Version, generate_body, read_sample
from rzero_mega.rollout.sglang.server.client import SglangClient

DRAWS_PER_CALL = 64


def draw_in_whole_calls(
    clients: Sequence[SglangClient], draws: Sequence[Draw], version: Version, context: int, slots: int
) -> list[Sample]:
    """The samples, as their calls are answered. Each server has as many calls as fill its slots, and one that waits."""
    waiting = deque(draws[start : start + DRAWS_PER_CALL] for start in range(0, len(draws), DRAWS_PER_CALL))
    running: dict[Future[list[dict[str, Any]]], tuple[int, Sequence[Draw]]] = {}
    most = 1 + slots // DRAWS_PER_CALL
    samples: list[Sample] = []
    with ThreadPoolExecutor(most * len(clients)) as threads:
        while waiting or running:
            while waiting:
                loads = [sum(at == server for at, _ in running.values()) for server in range(len(clients))]
                server = loads.index(min(loads))
                if loads[server] >= most:
                    break
                call = waiting.popleft()
                body = {**generate_body(call, [], context), "stream": False}
                running[threads.submit(clients[server].generate, body)] = server, call
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                call = running.pop(done)[1]
                found = [read_sample(draw, answer, version) for draw, answer in zip(call, done.result(), strict=True)]
                samples += [sample for sample in found if sample is not None]
    return samples
