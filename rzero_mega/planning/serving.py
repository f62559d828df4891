"""SGLang servers on the learner's GPUs: memory of weights and KV cache, and how long a step's rollouts take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rzero_mega.planning.candidate import Candidate, Workload
from rzero_mega.planning.hardware import COMPUTE_SHARE, MEMORY_SHARE, Gpu
from rzero_mega.planning.parameters import active_parameters, rank_parameters, total_parameters
from rzero_mega.weights.shape import ModelShape

ROLES = 2  # Challenger and Solver speak in the same phase
# rollout.sglang.max_running_requests
MOST_CONCURRENT = 256
# One all-reduce of a decoding step's few bytes.
ALL_REDUCE_S = 10e-6


@dataclass(frozen=True)
class Serving:
    """`replicas` servers per role, each over `tp` GPUs with `concurrent` sequences; bytes are those of one GPU."""

    tp: int
    replicas: int
    concurrent: int
    weights: float
    kv_cache: float
    seconds: float

    @property
    def memory(self) -> float:
        """Bytes of weights and KV cache."""
        return self.weights + self.kv_cache


def best_serving(found: Sequence[Serving], room: float) -> Serving | None:
    """The fastest of the servers whose weights and KV cache fit into `room` bytes of each GPU; None if none does."""
    fitting = [serving for serving in found if serving.memory <= room]
    return min(fitting, key=lambda serving: (serving.seconds, serving.tp), default=None)


def servings(
    shape: ModelShape, work: Workload, gpu: Gpu, gpus: int, gpus_per_node: int, concurrent: int | None
) -> list[Serving]:
    """Every way to spread servers over the GPUs; `concurrent` sequences per server, or several numbers of them."""
    found = []
    for tp in (1 << power for power in range(gpus.bit_length())):
        divides = shape.heads % tp == 0 and (shape.kv_heads % tp == 0 or tp % shape.kv_heads == 0)
        if gpus % tp or not divides or (tp > gpus_per_node and tp % gpus_per_node):
            continue
        # Each role has servers on half of the GPUs, or both share what one server takes.
        replicas = max(1, gpus // (ROLES * tp))
        per_gpu = 1 if gpus >= ROLES * tp else ROLES
        share = -(-work.sequences // replicas)
        most = [min(share, concurrent)] if concurrent else [min(share, MOST_CONCURRENT >> n) for n in range(9)]
        for running in dict.fromkeys(most):
            link = gpu.nvlink if tp <= gpus_per_node else gpu.network
            weights = total_parameters(shape, tp) * work.element_bytes
            cache = running * work.length * kv_bytes(shape, tp, work.element_bytes)
            seconds = -(-share // running) * work.length * _decode_step(shape, work, gpu, tp, running, link)
            found.append(Serving(tp, replicas, running, per_gpu * weights, per_gpu * cache, seconds))
    return found


def kv_bytes(shape: ModelShape, tp: int, width: int) -> int:
    """Of one token on one GPU: keys and values of all layers; a head is on several GPUs where there are too few."""
    return 2 * shape.layers * max(1, shape.kv_heads // tp) * shape.head_dim * width


def _decode_step(shape: ModelShape, work: Workload, gpu: Gpu, tp: int, running: int, link: float) -> float:
    """Seconds to decode one token of each of `running` sequences, half of their length long on average.

    Bounded by reading the weights that any of the tokens uses, and the KV cache, from memory; or by arithmetic (Pope et
    al., "Efficiently Scaling Transformer Inference", arXiv 2211.05102).
    """
    experts = 0.0
    if shape.experts:
        all_experts = total_parameters(shape) - _dense(shape)
        unused = (1 - shape.experts_per_token / shape.experts) ** running
        experts = all_experts * (1 - unused)
    read = (_dense(shape) + experts) / tp * work.element_bytes
    read += running * work.length / 2 * kv_bytes(shape, tp, work.element_bytes)
    memory = read / (gpu.memory_bandwidth * MEMORY_SHARE)
    compute = 2 * active_parameters(shape) * running / tp / (gpu.bf16_flops * COMPUTE_SHARE)
    latency = 0.0
    if tp > 1:
        latency = 2 * shape.layers * (ALL_REDUCE_S + 2 * running * shape.hidden * work.element_bytes / link)
    return max(memory, compute) + latency


def _dense(shape: ModelShape) -> int:
    return rank_parameters(shape, Candidate(), 0).dense
