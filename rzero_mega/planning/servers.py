"""SGLang's servers on the learner's GPUs: memory of weights and KV cache, and how long a step's rollouts take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rzero_mega.planning.assumptions import Decoding, shipped
from rzero_mega.planning.hardware import Gpu
from rzero_mega.planning.parameters import active_parameters, dense_parameters, total_parameters
from rzero_mega.planning.request import PlanRequest
from rzero_mega.weights.shape import ModelShape

# The most sequences per server that are tried, as rollout.sglang.max_running_requests has it by default.
MAX_CONCURRENT = 256


@dataclass(frozen=True)
class ServersEstimate:
    """`replicas` servers per role, each over `tp` GPUs of a node with `concurrent` sequences.

    Both roles have servers on all GPUs: they share them in turns, as at run time (`rollout.sglang.pool.turns`).
    `weights` and `kv_cache` are bytes on one GPU, `seconds` the rollouts of one step.
    """

    tp: int
    replicas: int
    concurrent: int
    weights: float
    kv_cache: float
    seconds: float

    @property
    def memory(self) -> float:
        """Bytes of weights and KV cache on one GPU."""
        return self.weights + self.kv_cache


def fastest_servers(found: Sequence[ServersEstimate], room: float) -> ServersEstimate | None:
    """The fastest of those whose weights and KV cache fit into `room` bytes of each GPU; None if none does."""
    fitting = [servers for servers in found if servers.memory <= room]
    return min(fitting, key=lambda servers: (servers.seconds, servers.tp), default=None)


def servers_estimates(request: PlanRequest) -> list[ServersEstimate]:
    """Every way to spread servers over the GPUs, with the `concurrent` asked for or with several numbers of it."""
    shape, workload, gpu = request.shape, request.workload, request.gpu
    gpus, node = request.gpus, request.gpus_per_node
    found = []
    for tp in (1 << power for power in range(min(gpus, node).bit_length())):
        divides = shape.heads % tp == 0 and (shape.kv_heads % tp == 0 or tp % shape.kv_heads == 0)
        if min(gpus, node) % tp or not divides:
            continue
        replicas = gpus // tp
        step = DecodeStep(shape, gpu, tp, workload.element_bytes, shipped().decoding)
        sequences = -(-workload.sequences // replicas)
        for concurrent in _concurrencies(sequences, request.concurrent):
            weights = total_parameters(shape, tp) * workload.element_bytes
            cache = concurrent * workload.length * kv_bytes(shape, tp, workload.element_bytes)
            # Half of their length long on average.
            token_s = step.seconds(concurrent, concurrent * workload.length / 2)
            seconds = -(-sequences // concurrent) * workload.length * token_s
            found.append(ServersEstimate(tp, replicas, concurrent, weights, cache, seconds))
    return found


def _concurrencies(sequences: int, wanted: int | None) -> list[int]:
    """Numbers of sequences at a time to try on a server that has `sequences` in all."""
    if wanted is not None:
        return [min(sequences, wanted)]
    return list(dict.fromkeys(min(sequences, MAX_CONCURRENT >> n) for n in range(MAX_CONCURRENT.bit_length())))


def kv_bytes(shape: ModelShape, tp: int, element_bytes: int) -> int:
    """Of one token on one GPU: keys and values of all layers; a head is on several GPUs where there are too few.

    Latent attention keeps what it makes keys and values of, which all heads share, on every GPU.
    """
    if shape.latent is not None:
        return shape.layers * shape.size("small_keys") * element_bytes
    return 2 * shape.layers * max(1, shape.kv_heads // tp) * shape.head_dim * element_bytes


@dataclass(frozen=True)
class DecodeStep:
    """Seconds of a server's steps over `tp` GPUs: one token of each of several sequences, or a prompt's prefill.

    Bounded by reading the weights that any of the tokens uses, and the KV cache, from memory; or by arithmetic (Pope et
    al., "Efficiently Scaling Transformer Inference", arXiv 2211.05102).
    """

    shape: ModelShape
    gpu: Gpu
    tp: int
    element_bytes: int
    decoding: Decoding

    def seconds(self, running: float, cached: float) -> float:
        """Of a decode step of so many sequences, with `cached` tokens in all."""
        shape, decoding = self.shape, self.decoding
        dense, experts = self._parameters
        if shape.experts:
            experts *= 1 - (1 - shape.experts_per_token / shape.experts) ** running
        read = (dense + experts) / self.tp * self.element_bytes + cached * self._kv_bytes
        memory = read / (self.gpu.memory_bandwidth * decoding.memory_share)
        latency = decoding.fixed_s + decoding.per_sequence_s * running
        if self.tp > 1:
            nbytes = 2 * running * shape.hidden * self.element_bytes
            latency += 2 * shape.layers * (decoding.all_reduce_s + nbytes / self.gpu.nvlink)
        return max(memory, self.prefill_seconds(running)) + latency

    def prefill_seconds(self, tokens: float) -> float:
        """The arithmetic of so many tokens."""
        rate = self.tp * self.gpu.bf16_flops * self.decoding.compute_share
        return 2 * self._active * tokens / rate

    @cached_property
    def _parameters(self) -> tuple[int, float]:
        """(those of all tokens, those of experts)."""
        dense = dense_parameters(self.shape)
        return dense, float(total_parameters(self.shape) - dense)

    @cached_property
    def _active(self) -> int:
        return active_parameters(self.shape)

    @cached_property
    def _kv_bytes(self) -> int:
        return kv_bytes(self.shape, self.tp, self.element_bytes)
