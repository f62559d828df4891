"""What a drawn token costs the first rank: `python -m tools.bench_client [--tokens 700] [--draws 2048]`.

Another process plays a server that answers at once, with samples of a length like real ones, so that what is measured
is this process alone: bodies, HTTP, JSON, checks, the queue. *One queue* is the engine's own way, with the
log-probabilities that training wants and without them, as votes are drawn; *calls answered as a whole*, of 64 draws
each, is what it did before; *single requests* are what it would do without streams.

    python -m tools.bench_client --servers 2 [--slots 32] [--cut-off 0.03] [--scale 0.125] [--draws 640]

Real SGLang servers on this machine's CPU, a small model, responses whose lengths are R-Zero's times `scale`: tokens per
second by one queue and by calls of 64. What the processes take of the CPU stands beside it, which depends less on what
else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, cast

from rzero_mega.config.schema import SamplingConfig, SglangConfig
from rzero_mega.rollout.protocol import Draw, Request, draws_of
from rzero_mega.rollout.sglang.pool.dispatch import Dispatch
from rzero_mega.rollout.sglang.pool.role_servers import RoleServers
from rzero_mega.rollout.sglang.pool.weight_sender import WeightSender
from rzero_mega.rollout.sglang.pool.wire import Version, generate_body, read_sample
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.terminal import say
from tools.client_benchmarks.throughput import Load, measure
from tools.client_benchmarks.whole_calls import DRAWS_PER_CALL

SAMPLES = 10
PROMPT = 150
CONTEXT = 8192
VERSION = Version(0, "solver-1-0")


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=700, help="of every sample")
    parser.add_argument("--draws", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--servers", type=int, default=0, help="real ones")
    parser.add_argument("--slots", type=int, default=32, help="sequences that a real server decodes at a time")
    parser.add_argument("--cut-off", type=float, default=0.03, help="share of responses that run to the limit")
    parser.add_argument("--scale", type=float, default=0.125, help="of the lengths of responses")
    arguments = parser.parse_args()
    if arguments.servers:
        load = Load(arguments.servers, arguments.slots, arguments.draws, arguments.cut_off, arguments.scale)
        measure(load, arguments.repeats)
        return
    _print_costs(arguments)


def _print_costs(arguments: argparse.Namespace) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(there, arguments.tokens), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{here.recv()}"
        prompts = arguments.draws // SAMPLES
        requests = [Request(str(i), (i + 1000,) * PROMPT, SAMPLES, SamplingConfig()) for i in range(prompts)]
        draws = draws_of(requests)
        votes = draws_of([replace(request, logprobs=False) for request in requests])
        ways: dict[str, Callable[[], int]] = {
            "one queue, votes": lambda: _queue(url, votes),
            "one queue, rollouts with log-probabilities": lambda: _queue(url, draws),
            f"calls of {DRAWS_PER_CALL} answered as a whole": lambda: _calls(url, draws, DRAWS_PER_CALL),
            "single requests": lambda: _calls(url, draws, 1),
        }
        say(f"{len(draws)} draws of {arguments.tokens} tokens, {arguments.repeats} repeats, medians")
        say("| way | µs per draw | µs per token |\n|---|---|---|")
        for way, draw in ways.items():
            cost = median(_cost(draw) for _ in range(arguments.repeats))
            say(f"| {way} | {1e6 * cost:.0f} | {1e6 * cost / arguments.tokens:.2f} |")
    finally:
        server.kill()


def _cost(draw: Callable[[], int]) -> float:
    """Seconds of this process's CPU per draw."""
    began = time.process_time()
    drawn = draw()
    return (time.process_time() - began) / drawn


def _queue(url: str, draws: Sequence[Draw]) -> int:
    servers = RoleServers("solver", lambda _n, _a: _There(url), SglangConfig(), cast(WeightSender, None), False)
    servers.serve_first_weights()
    return len(Dispatch(servers, draws, VERSION, [2], CONTEXT).run()[0])


def _calls(url: str, draws: Sequence[Draw], size: int) -> int:
    client = SglangClient("server", url)
    batches = [draws[start : start + size] for start in range(0, len(draws), size)]

    def call(batch: Sequence[Draw]) -> int:
        answers = client.generate({**generate_body(batch, [2], CONTEXT), "stream": False})
        return len([read_sample(draw, answer, VERSION) for draw, answer in zip(batch, answers, strict=True)])

    with ThreadPoolExecutor(max(5, 64 // size)) as threads:
        return sum(threads.map(call, batches))


class _There:
    """A `ServerHandle` of a server that is there."""

    log, where = Path("server.log"), "there"

    def __init__(self, url: str) -> None:
        self._url = url

    def client(self, name: str, timeout_s: float) -> SglangClient:
        return SglangClient(name, self._url, timeout_s=timeout_s)

    def alive(self) -> bool:
        return True

    def ready(self) -> bool:
        return True

    def wait_ready(self, timeout_s: float) -> None:
        pass

    def reason(self) -> str:
        return ""

    def stop(self) -> None:
        pass


def _serve(pipe: Connection, tokens: int) -> None:
    """In the other process: answer every call at once, whole or as a stream."""
    whole, first = (
        {
            logprobs: [json.dumps(_answer(index, length, over, logprobs)).encode() for index in range(DRAWS_PER_CALL)]
            for logprobs in (True, False)
        }
        for length, over in ((tokens, True), (1, False))
    )

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await calls(reader, writer)

    async def calls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).lower():
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            draws, logprobs = len(body["input_ids"]), body["return_logprob"][0]
            kind = b"text/event-stream" if body["stream"] else b"application/json"
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: " + kind + b"\r\n\r\n")
            if body["stream"]:
                for said in (*first[logprobs][:draws], *whole[logprobs][:draws], b"[DONE]"):
                    await _chunk(writer, b"data: " + said + b"\n\n")
            else:
                await _chunk(writer, b"[" + b",".join(whole[logprobs][:draws]) + b"]")
            writer.write(b"0\r\n\r\n")

    async def serve() -> None:
        server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=1024)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


async def _chunk(writer: asyncio.StreamWriter, content: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(content), content))
    await writer.drain()
    await asyncio.sleep(0)


def _answer(index: int, tokens: int, over: bool, logprobs: bool) -> dict[str, Any]:
    """As SGLang writes it, which has no tokenizer."""
    ids = [(index * 7919 + place * 104_729) % 150_000 for place in range(tokens)]
    triples = [[-0.5312345 - place / 7919, token, None] for place, token in enumerate(ids)]
    return {
        "output_ids": ids,
        "meta_info": {
            "id": "0123456789abcdef" * 2,
            "finish_reason": {"type": "stop", "matched": 2} if over else None,
            "prompt_tokens": PROMPT,
            "weight_version": VERSION.on_server,
            "weight_versions": [{"version": VERSION.on_server, "start": 0, "end": tokens}],
            **({"output_token_logprobs": triples} if logprobs else {}),
            "completion_tokens": tokens,
        },
        "index": index,
    }


if __name__ == "__main__":
    main()
