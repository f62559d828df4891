"""Rollout throughput: one queue refilled as answers come, against calls that are answered when all of them are drawn.

    python -m tools.bench_rollout [--replicas 2] [--running 16] [--draws 320] [--repeats 3]

Real SGLang servers on this machine's CPU, the same draws either way, in one process; the two ways take turns. The model
is a small one of random weights: of its tokens one in `SHORT` ends a response, so that sampled responses are about as
long, and a few draws are greedy ones, which repeat themselves up to the limit. Nobody knows before which are long. The
other way is what the engine did before it had a queue: calls of a quarter of a server's slots, one more than fill them,
each answered as a whole.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

from rzero_mega.config.placement import Placement, ServerPlace
from rzero_mega.config.schema import RolloutConfig, SamplingConfig, SglangConfig, WeightsConfig
from rzero_mega.rollout.limits import stop_tokens
from rzero_mega.rollout.protocol import Request, draws_of
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.rollout.sglang.pool.wire import generate_body
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.scratch import temporary_folder
from rzero_mega.terminal import say
from tools.random_model import write_random_model

CALLS_PER_SLOTS = 4
VOCABULARY, SHORT = 2048, 128
MODEL = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": list(range(VOCABULARY // SHORT)),
}


@dataclass
class Measured:
    """Of one way: a figure for each repeat. `cpu` is what the first rank's process computed itself, in seconds."""

    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    cut_off: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Tokens per second, the median over repeats."""
        return median(tokens / seconds for tokens, seconds in zip(self.tokens, self.seconds, strict=True))

    def row(self, way: str) -> str:
        """Of the table."""
        rates = [tokens / seconds for tokens, seconds in zip(self.tokens, self.seconds, strict=True)]
        cost = median(1e6 * cpu / tokens for tokens, cpu in zip(self.tokens, self.cpu, strict=True))
        return (
            f"| {way} | {median(self.seconds):.1f} | {median(self.tokens):,.0f} | {100 * median(self.cut_off):.1f} % "
            f"| {self.rate:,.0f} | {min(rates):,.0f} to {max(rates):,.0f} | {cost:.1f} |"
        )


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--running", type=int, default=16, help="sequences that a server decodes at a time")
    parser.add_argument("--draws", type=int, default=320)
    parser.add_argument("--greedy", type=float, default=0.03, help="share of draws that run to the limit")
    parser.add_argument("--limit", type=int, default=896, help="tokens of the longest response")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with temporary_folder("bench_rollout") as folder:
        model = folder / "model"
        write_random_model(model, MODEL, torch.float32)
        config = SglangConfig(replicas=arguments.replicas, max_running_requests=arguments.running)
        pool = ServerPool(
            RolloutConfig(engine="sglang", dtype="float32", sglang=config),
            WeightsConfig(),
            Placement(1, (range(1),), (ServerPlace(0, 0),) * arguments.replicas, shared_gpus=True),
            None,
            folder / "servers",
        )
        with closing(pool):
            _compare(pool, model, _requests(arguments.draws, arguments.greedy, arguments.limit), arguments.repeats)


def _requests(draws: int, greedy: float, limit: int) -> list[Request]:
    chance = random.Random(0)
    drawn, repeated = (SamplingConfig(max_new_tokens=limit, top_k=top_k) for top_k in (0, 1))
    return [
        Request(
            str(i),
            tuple(chance.choices(range(VOCABULARY // SHORT, VOCABULARY), k=16)),
            1,
            repeated if chance.random() < greedy else drawn,
        )
        for i in range(draws)
    ]


def _compare(pool: ServerPool, model: Path, requests: Sequence[Request], repeats: int) -> None:
    engine = pool.engine("solver", model)
    engine.generate(requests[:40])  # the servers are started, and warm

    def whole_calls() -> list[tuple[int, bool]]:
        clients = [replica.client for replica in pool.roles["solver"].serving()]
        slots = pool.roles["solver"].config.max_running_requests
        bodies = _bodies(requests, sorted(stop_tokens(model)), engine.context, max(1, slots // CALLS_PER_SLOTS))
        return _answered_whole(clients, bodies, 1 + CALLS_PER_SLOTS)

    def queue() -> list[tuple[int, bool]]:
        return [(len(sample.tokens), not sample.finished) for sample in engine.generate(requests)]

    ways = {"calls answered as a whole": whole_calls, "one queue": queue}
    measured = {way: Measured() for way in ways}
    for _ in range(repeats):
        for way, draw in ways.items():
            _measure(draw, measured[way])
    say(f"{len(requests)} draws, {repeats} repeats, medians")
    say("| way | seconds | tokens | at the limit | tokens/s | least to most | µs of the client per token |")
    say("|---|---|---|---|---|---|---|")
    for way in ways:
        say(measured[way].row(way))
    before, after = (measured[way].rate for way in ways)
    say(f"one queue draws {after / before:.2f} times as many tokens per second")


def _measure(draw: Callable[[], list[tuple[int, bool]]], measured: Measured) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    samples = draw()
    measured.seconds.append(time.perf_counter() - began)
    measured.cpu.append(time.process_time() - cpu)
    measured.tokens.append(sum(tokens for tokens, _ in samples))
    measured.cut_off.append(sum(cut_off for _, cut_off in samples) / len(samples))


def _bodies(requests: Sequence[Request], stop: Sequence[int], context: int, size: int) -> list[dict[str, Any]]:
    draws = draws_of(requests)
    batches = [draws[start : start + size] for start in range(0, len(draws), size)]
    return [{**generate_body(batch, stop, context), "stream": False} for batch in batches]


def _answered_whole(
    clients: Sequence[SglangClient], bodies: Sequence[dict[str, Any]], calls: int
) -> list[tuple[int, bool]]:
    """Tokens of every sample, and whether it was cut off; a server has at most so many calls under way."""
    waiting, running = deque(bodies), dict[Future[list[dict[str, Any]]], int]()
    samples: list[tuple[int, bool]] = []
    with ThreadPoolExecutor(calls * len(clients)) as threads:
        while waiting or running:
            while waiting:
                load = [list(running.values()).count(number) for number in range(len(clients))]
                least = load.index(min(load))
                if load[least] >= calls:
                    break
                running[threads.submit(clients[least].generate, waiting.popleft())] = least
            for call in wait(running, return_when=FIRST_COMPLETED).done:
                del running[call]
                samples += [
                    (len(answer["output_ids"]), answer["meta_info"]["finish_reason"]["type"] == "length")
                    for answer in call.result()
                ]
    return samples


if __name__ == "__main__":
    main()
