"""Tokens per second of real SGLang servers on this machine's CPU, by the engine's queue and by calls of 64 draws.

The same draws either way, in one process; the two ways take turns, and which goes first does too. How long a response
becomes is R-Zero's distribution, scaled down to a small model: nobody who shares draws out knows it before. The servers
are told as a call goes to them, in place of the limit that the request has.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, cast

import psutil
import torch

from rzero_mega.config.placement import ServerPlace
from rzero_mega.config.schema import SamplingConfig, SglangConfig
from rzero_mega.rollout.protocol import Draw, Request, Sample, draws_of
from rzero_mega.rollout.sglang.nodes.start import start_server
from rzero_mega.rollout.sglang.pool.dispatch import Dispatch
from rzero_mega.rollout.sglang.pool.role_servers import RoleServers
from rzero_mega.rollout.sglang.pool.weight_sender import WeightSender
from rzero_mega.rollout.sglang.pool.wire import Version
from rzero_mega.rollout.sglang.server.answer_streams import AnswerStreams
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.rollout.sglang.server.command import ServerSpec
from rzero_mega.rollout.sglang.server.handle import ServerHandle
from rzero_mega.scratch import temporary_folder
from rzero_mega.terminal import say
from tools.client_benchmarks.whole_calls import DRAWS_PER_CALL, draw_in_whole_calls
from tools.random_model import write_random_model

VERSION = Version(0, "solver-1-0")
# Tokens of R-Zero's responses: log-normal, up to the limit.
MEDIAN, SPREAD, LIMIT = 600, 0.6, 4096
SAMPLES, PROMPT, CONTEXT = 10, 16, LIMIT + 128
VOCABULARY = 2048
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
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
}


@dataclass(frozen=True)
class Load:
    """What is drawn: by how many servers of how many slots, how many draws, of which a share runs to the limit.

    Responses are `scale` times as long as real ones.
    """

    servers: int
    slots: int
    draws: int
    cut_off: float
    scale: float

    @property
    def limit(self) -> int:
        """Most tokens of a response."""
        return round(LIMIT * self.scale)

    def lengths(self) -> list[int]:
        """Tokens of every draw's response."""
        chance = random.Random(5)
        drawn = [round(self.scale * MEDIAN * math.exp(chance.gauss(0, SPREAD))) for _ in range(self.draws)]
        return [self.limit if chance.random() < self.cut_off else min(self.limit, max(2, n)) for n in drawn]

    def requests(self) -> list[Request]:
        """Whose draws these are, a prompt each."""
        chance, sampling = random.Random(6), SamplingConfig(max_new_tokens=self.limit)
        return [
            Request(str(i), (i, *chance.choices(range(VOCABULARY), k=PROMPT - 1)), SAMPLES, sampling)
            for i in range(self.draws // SAMPLES)
        ]


@dataclass
class Rates:
    """Of one way: a figure for each repeat."""

    seconds: list[float] = field(default_factory=list)
    own_cpu: list[float] = field(default_factory=list)
    servers_cpu: list[float] = field(default_factory=list)


def measure(load: Load, repeats: int) -> None:
    """Print a row for each way, and how much faster the queue is."""
    lengths, draws = load.lengths(), draws_of(load.requests())
    tokens = sum(lengths)
    with _servers(load, lengths) as (servers, forget):
        clients = [replica.client for replica in servers.serving()]
        ways: dict[str, Callable[[Sequence[Draw]], Sequence[Sample]]] = {
            f"calls of {DRAWS_PER_CALL} draws": lambda draws: draw_in_whole_calls(
                clients, draws, VERSION, CONTEXT, load.slots
            ),
            "one queue": lambda draws: list(Dispatch(servers, draws, VERSION, [], CONTEXT).run()[0].values()),
        }
        for draw in ways.values():  # warm
            draw(draws[:20])
        rates = {way: Rates() for way in ways}
        for repeat in range(repeats):
            for way in list(ways) if repeat % 2 else reversed(list(ways)):
                forget()
                began, cpu, theirs = time.perf_counter(), time.process_time(), _cpu_of(servers)
                samples = ways[way](draws)
                rates[way].seconds.append(time.perf_counter() - began)
                rates[way].own_cpu.append(time.process_time() - cpu)
                rates[way].servers_cpu.append(_cpu_of(servers) - theirs)
                if sum(len(sample.tokens) for sample in samples) != tokens:
                    raise RuntimeError(f"{way}: other tokens than were to be drawn")
    _print(load, lengths, rates)


def _print(load: Load, lengths: Sequence[int], rates: Mapping[str, Rates]) -> None:
    tokens, cut_off = sum(lengths), sum(length == load.limit for length in lengths) / len(lengths)
    say(
        f"{load.servers} servers of {load.slots} slots, {len(lengths)} draws of {tokens / len(lengths):.0f} tokens on "
        f"average, {cut_off:.1%} at the limit of {load.limit}"
    )
    say("| way | seconds | tokens/s, median | least to most | client's CPU, µs per token | servers' |")
    say("|---|---|---|---|---|---|")
    for way, found in rates.items():
        speeds = sorted(tokens / seconds for seconds in found.seconds)
        own, theirs = (median(1e6 * cpu / tokens for cpu in of) for of in (found.own_cpu, found.servers_cpu))
        say(
            f"| {way} | {median(found.seconds):.1f} | {median(speeds):,.0f} | {speeds[0]:,.0f} to {speeds[-1]:,.0f} "
            f"| {own:.1f} | {theirs:.1f} |"
        )
    before, after = (median(found.seconds) for found in rates.values())
    ratios = [one / other for one, other in zip(*(found.seconds for found in rates.values()), strict=True)]
    say(f"one queue: {before / after:.2f} times as many tokens per second; by repeat " + _listed(ratios))
    before, after = (median(map(sum, zip(found.own_cpu, found.servers_cpu, strict=True))) for found in rates.values())
    say(f"and {before / after:.2f} times as many per second of CPU")


def _cpu_of(servers: RoleServers) -> float:
    """Seconds of CPU that the servers' processes have taken."""
    processes = [psutil.Process(pid) for replica in servers.all() for pid in cast(_Told, replica.server).pids()]
    times = [process.cpu_times() for process in processes]
    return sum(found.user + found.system for found in times)


def _listed(ratios: Sequence[float]) -> str:
    return ", ".join(f"{ratio:.2f}" for ratio in ratios)


@contextmanager
def _servers(load: Load, lengths: Sequence[int]) -> Iterator[tuple[RoleServers, Callable[[], None]]]:
    """The servers, and what to call before the draws are drawn once more."""
    asked: Counter[int] = Counter()

    def told(body: Mapping[str, Any]) -> dict[str, Any]:
        """The body with the length of each response; the n-th draw of a prompt has the prompt's n-th."""
        parameters = []
        for prompt, sampling in zip(body["input_ids"], body["sampling_params"], strict=True):
            place = SAMPLES * prompt[0] + asked[prompt[0]] % SAMPLES
            asked[prompt[0]] += 1
            parameters.append({**sampling, "max_new_tokens": lengths[place]})
        return {**body, "sampling_params": parameters}

    with temporary_folder("bench_client") as folder:
        write_random_model(folder / "model", MODEL, torch.float32)
        spec = ServerSpec(folder / "model", 0, weight_version=VERSION.on_server, max_running_requests=load.slots)

        def start(number: int, attempt: int) -> ServerHandle:
            name, place = f"solver-{number}", ServerPlace(0, 0)
            return _Told(start_server(name, attempt, spec, place, folder / "servers", None, None), told)

        config = SglangConfig(replicas=load.servers, max_running_requests=load.slots)
        servers = RoleServers("solver", start, config, cast(WeightSender, _NoSender()), False)
        try:
            servers.serve_first_weights()
            yield servers, asked.clear
        finally:
            servers.close()


class _NoSender:
    def close(self) -> None:
        pass


Tell = Callable[[Mapping[str, Any]], dict[str, Any]]


class _Told:
    """A `ServerHandle` whose clients tell the server how long responses become."""

    def __init__(self, server: ServerHandle, tell: Tell) -> None:
        self._server, self._tell = server, tell

    def client(self, name: str, timeout_s: float) -> SglangClient:
        client = self._server.client(name, timeout_s)
        streams, generate, tell = client.streams, client.generate, self._tell

        client.generate = lambda body: generate(tell(body))  # type: ignore[method-assign]
        client.streams = lambda: _ToldStreams(streams(), tell)  # type: ignore[method-assign]
        return client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class _ToldStreams(AnswerStreams):
    def __init__(self, streams: AnswerStreams, tell: Tell) -> None:
        self._streams, self._tell = streams, tell

    def answers(self, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        return self._streams.answers(self._tell(body))

    async def close(self) -> None:
        await self._streams.close()
