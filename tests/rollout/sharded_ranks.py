"""One rank of a sharded rollout, for tests: draws, fails where it is told to, and leaves what it saw as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch.distributed as dist

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import Arrived, FinishReason, Request, Sample, Scored, logprob_array, token_array
from rzero_mega.rollout.sampling import uniform_stream
from rzero_mega.rollout.sharded import ShardedEngine, generate_in_turn

REQUESTS = [
    Request(f"r{i}", tuple(range(i + 1)), n, SamplingConfig(), first_index=i % 2)
    for i, n in enumerate([3, 1, 7, 2, 2, 0, 1])
]


@dataclass
class StreamEngine:
    """Samples that depend on key and index alone, of lengths 1 to 5; raises `failure` when it draws sample (r2, 4)."""

    failure: Exception | None = None
    weight_version: int = 4
    drawn: int = 0
    updates: list[int] = field(default_factory=list)

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        samples = [self._draw(r, i) for r in requests for i in range(r.first_index, r.first_index + r.n)]
        self.drawn += len(samples)
        return samples

    def _draw(self, request: Request, index: int) -> Sample:
        if self.failure is not None and (request.key, index) == ("r2", 4):
            raise self.failure
        numbers = uniform_stream(request.key, index, 6).tolist()
        length = 1 + int(numbers[0] * 5)
        return Sample(
            key=request.key,
            index=index,
            prompt_tokens=request.prompt_tokens,
            tokens=token_array(int(u * 1e6) for u in numbers[1 : 1 + length]),
            logprobs=logprob_array(-u for u in numbers[1 : 1 + length]),
            finish=list(FinishReason)[index % 3],
            weight_version=self.weight_version,
        )

    def generate_units(self, units: Sequence[Sequence[Request]], arrived: Arrived) -> None:
        generate_in_turn(self.generate, units, arrived)

    receivers = (0,)
    context = 1000

    def prepare(self) -> None:
        pass

    def score(self, sequences: Sequence[Scored]) -> list[tuple[float, ...]]:
        return [(0.0,) * len(sequence.response_tokens) for sequence in sequences]

    def update_weights(self, source: object, version: int) -> None:
        self.updates.append(version)

    def close(self) -> None:
        pass


def run(rank: int, ranks: int, folder: Path) -> None:
    """Write rank's findings to `folder`; rank 0 compares with a single engine."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=ranks)
    engine = StreamEngine()
    findings = {
        "equal": ShardedEngine(engine).generate(REQUESTS) == StreamEngine().generate(REQUESTS),
        "drawn": engine.drawn,
        "unit": _unit_of(StreamEngine()),
        "empty": ShardedEngine(engine).generate([]),
        "user_error": _error_of(StreamEngine(failure=UserError("prompt too long"))),
        "unit_error": _error_of(StreamEngine(failure=ZeroDivisionError("inside")), unit=True),
        "bug": _error_of(StreamEngine(failure=ZeroDivisionError("inside"))),
        "versions": _error_of(StreamEngine(weight_version=4 + rank)),
        "unit_versions": _error_of(StreamEngine(weight_version=4 + rank), unit=True),
        "after_errors": ShardedEngine(engine).generate(REQUESTS) == StreamEngine().generate(REQUESTS),
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(findings))
    dist.destroy_process_group()


def _unit_of(engine: StreamEngine) -> list[bool]:
    """Of each time that a unit was handed over on this rank, whether it was whole."""
    handed_over: list[bool] = []

    def take(_number: int, samples: list[Sample]) -> bool:
        handed_over.append(samples == StreamEngine().generate(REQUESTS))
        return True

    ShardedEngine(engine).generate_units([REQUESTS], take)
    return handed_over


def _error_of(engine: StreamEngine, unit: bool = False) -> list[str]:
    try:
        if unit:
            _unit_of(engine)
        ShardedEngine(engine).generate(REQUESTS)
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []
