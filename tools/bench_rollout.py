"""Rollout throughput: one queue refilled as answers come, against calls that are answered when all of them are drawn.

    python -m tools.bench_rollout [--replicas 2] [--running 16] [--prompts 64] [--repeats 3]

Real SGLang servers on this machine's CPU with the nano base, the same prompts either way, in one process; the two ways
take turns. At this temperature most answers are short and a few run to the limit, which nobody knows before. The other
way is what the engine did before it had a queue: calls of a quarter of a server's slots, one more than fill them, each
answered as a whole.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rzero_mega.config import Config, load_config
from rzero_mega.config.schema import SamplingConfig
from rzero_mega.evaluation.arithmetic import held_out_set
from rzero_mega.phases.context import InferenceContext, load_encoder, new_grader, open_server_pool
from rzero_mega.rollout.limits import stop_tokens
from rzero_mega.rollout.protocol import Request, draws_of
from rzero_mega.rollout.sglang.pool.wire import generate_body
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.scratch import temporary_folder
from rzero_mega.terminal import say
from rzero_mega.weights.base_model import resolve_base_model

SAMPLES = 10
CALLS_PER_SLOTS = 4


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
    parser.add_argument("--prompts", type=int, default=64, help=f"of {SAMPLES} samples each")
    parser.add_argument("--temperature", type=float, default=1.3)
    parser.add_argument("--limit", type=int, default=224, help="tokens of the longest answer")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    sampling = SamplingConfig(temperature=arguments.temperature, max_new_tokens=arguments.limit)
    with temporary_folder("bench_rollout") as folder:
        settings = [
            "rollout.engine=sglang",
            f"rollout.sglang.replicas={arguments.replicas}",
            f"rollout.sglang.max_running_requests={arguments.running}",
            f"run.root={folder}",
        ]
        config = load_config(["paper", "nano"], ["learner.processes=1", *settings])
        _compare(config, sampling, arguments.prompts, folder, arguments.repeats)


def _compare(config: Config, sampling: SamplingConfig, prompts: int, folder: Path, repeats: int) -> None:
    model = resolve_base_model(config.model, folder)
    with open_server_pool(config, folder / "servers") as pool, new_grader(config.grading) as grader:
        assert pool is not None
        ctx = InferenceContext(config, load_encoder(model), grader, pool)
        problems = [problem for problem in held_out_set() if problem.level >= 3][:prompts]
        texts = [ctx.solver_prompt(problem.expression) for problem in problems]
        requests = [Request(str(i), prompt, SAMPLES, sampling) for i, prompt in enumerate(texts)]
        engine = ctx.engine("solver", model)
        engine.generate(requests[:4])  # the servers are started, and warm

        def whole_calls() -> list[tuple[int, bool]]:
            clients = [replica.client for replica in pool.roles["solver"].serving()]
            slots = config.rollout.sglang.max_running_requests
            bodies = _bodies(requests, sorted(stop_tokens(model)), engine.context, max(1, slots // CALLS_PER_SLOTS))
            return _answered_whole(clients, bodies, 1 + CALLS_PER_SLOTS)

        def queue() -> list[tuple[int, bool]]:
            return [(len(sample.tokens), not sample.finished) for sample in engine.generate(requests)]

        ways = {"calls answered as a whole": whole_calls, "one queue": queue}
        measured = {way: Measured() for way in ways}
        for _ in range(repeats):
            for way, draw in ways.items():
                _measure(draw, measured[way])
    say(f"{len(requests)} prompts of {SAMPLES} samples, {repeats} repeats, medians")
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
