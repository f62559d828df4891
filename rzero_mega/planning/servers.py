"""SGLang's servers on the learner's GPUs: memory of weights and KV cache, and how long a step's rollouts take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rzero_mega.planning.hardware import COMPUTE_SHARE, MEMORY_SHARE, Gpu
from rzero_mega.planning.parameters import active_parameters, dense_parameters, total_parameters
from rzero_mega.planning.request import PlanRequest
from rzero_mega.planning.workload import Workload
from rzero_mega.weights.shape import ModelShape

# The most sequences per server that are tried, as rollout.sglang.max_running_requests has it by default.
MAX_CONCURRENT = 256
# One all-reduce of a decoding step's few bytes.
ALL_REDUCE_S = 10e-6


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
        sequences = -(-workload.sequences // replicas)
        for concurrent in _concurrencies(sequences, request.concurrent):
            weights = total_parameters(shape, tp) * workload.element_bytes
            cache = concurrent * workload.length * kv_bytes(shape, tp, workload.element_bytes)
            token_s = _decode_step(shape, workload, gpu, tp, concurrent)
            seconds = -(-sequences // concurrent) * workload.length * token_s
            found.append(ServersEstimate(tp, replicas, concurrent, weights, cache, seconds))
    return found


def _concurrencies(sequences: int, wanted: int | None) -> list[int]:
    """Numbers of sequences at a time to try on a server that has `sequences` in all."""
    if wanted is not None:
        return [min(sequences, wanted)]
    return list(dict.fromkeys(min(sequences, MAX_CONCURRENT >> n) for n in range(MAX_CONCURRENT.bit_length())))


def kv_bytes(shape: ModelShape, tp: int, element_bytes: int) -> int:
    """Of one token on one GPU: keys and values of all layers; a head is on several GPUs where there are too few."""
    return 2 * shape.layers * max(1, shape.kv_heads // tp) * shape.head_dim * element_bytes


def _decode_step(shape: ModelShape, workload: Workload, gpu: Gpu, tp: int, concurrent: int) -> float:
    """Seconds to decode one token of each of `concurrent` sequences, half of their length long on average.

    Bounded by reading the weights that any of the tokens uses, and the KV cache, from memory; or by arithmetic (Pope et
    al., "Efficiently Scaling Transformer Inference", arXiv 2211.05102).
    """
    dense, experts = dense_parameters(shape), 0.0
    if shape.experts:
        unused = (1 - shape.experts_per_token / shape.experts) ** concurrent
        experts = (total_parameters(shape) - dense) * (1 - unused)
    read = (dense + experts) / tp * workload.element_bytes
    read += concurrent * workload.length / 2 * kv_bytes(shape, tp, workload.element_bytes)
    memory = read / (gpu.memory_bandwidth * MEMORY_SHARE)
    compute = 2 * active_parameters(shape) * concurrent / tp / (gpu.bf16_flops * COMPUTE_SHARE)
    latency = 0.0
    if tp > 1:
        latency = (
            2 * shape.layers * (ALL_REDUCE_S + 2 * concurrent * shape.hidden * workload.element_bytes / gpu.nvlink)
        )
    return max(memory, compute) + latency
