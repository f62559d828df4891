"""How often and by which sampling the problems of a benchmark are asked: by its protocol, or as a run says."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rzero_mega.config.schema import EvaluationConfig, SamplingConfig
from rzero_mega.evaluation.benchmarks import Benchmark


@dataclass(frozen=True)
class Asking:
    """What is drawn for each problem: a greedy answer or none, and `samples` sampled ones, of which there may be 0."""

    greedy: bool
    samples: int
    sampling: SamplingConfig

    @property
    def answers(self) -> int:
        """How many answers a problem gets."""
        return self.samples + self.greedy

    @property
    def greedy_sampling(self) -> SamplingConfig:
        """That of the greedy answer."""
        return replace(self.sampling, temperature=0.0)


def asking(benchmark: Benchmark, config: EvaluationConfig) -> Asking:
    """A benchmark with a protocol is asked by it, any other both ways."""
    protocol, over = benchmark.protocol, config.protocol
    if protocol is None:
        return Asking(True, config.samples, config.sampling)
    limit = over.max_new_tokens or protocol.max_new_tokens
    sampling = SamplingConfig(temperature=protocol.temperature, top_p=protocol.top_p, max_new_tokens=limit)
    greedy = protocol.temperature == 0
    return Asking(greedy, 0 if greedy else over.samples or protocol.samples, sampling)
