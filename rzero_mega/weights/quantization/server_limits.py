"""What SGLang cannot serve in FP8, found before a server is started.

Each rule is one of SGLang 0.5.23's own (layers/quantization/fp8.py): scales are sharded with the weights, so every
process's shard of a weight, and of each weight in a layer that the server fuses (queries, keys and values; gate and
up), must be whole blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rzero_mega.errors import UserError
from rzero_mega.weights.quantization.blockwise import BLOCK
from rzero_mega.weights.quantization.scheme import FP8_BLOCK, FP8_TENSOR, Scheme, is_quantized

_FUSED_BY_ROWS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")


@dataclass(frozen=True)
class TargetServer:
    """The server that the weights are for. `updates`: it must take new weights while it runs."""

    tp: int
    device: str
    dtype: str
    updates: bool


def check_servable(
    scheme: Scheme, tensors: Iterable[tuple[str, tuple[int, ...]]], kv_heads: int, server: TargetServer
) -> None:
    """UserError that lists everything for which SGLang would refuse these tensors, (name, shape), in this scheme."""
    problems = _problems_of_server(scheme, server)
    if scheme is FP8_BLOCK:
        linear = [(name, shape) for name, shape in tensors if is_quantized(name)]
        cut = _sharded_inside_blocks(linear, kv_heads, server.tp)
        if cut:
            problems.append(f"{_listed(cut)}: {_advice(linear, kv_heads, server)}")
    if problems:
        raise UserError(f"weights.quantization {scheme.name}: " + "; ".join(problems))


def _problems_of_server(scheme: Scheme, server: TargetServer) -> list[str]:
    problems = []
    if server.device == "cpu":
        problems.append("SGLang serves FP8 on GPUs; set weights.quantization to none on CPUs")
    if server.dtype != "bfloat16":
        problems.append(f"SGLang has no FP8 with rollout.dtype {server.dtype}; set it to bfloat16")
    if scheme is FP8_TENSOR and server.updates:
        # After loading SGLang transposes the weight and drops what loads it; a second load finds neither.
        problems.append("SGLang cannot load one scale per tensor into a running server; use fp8_block")
    return problems


def _sharded_inside_blocks(linear: list[tuple[str, tuple[int, ...]]], kv_heads: int, tp: int) -> list[str]:
    """Weights whose shards are no whole blocks, with a shard's size; layers and experts that agree are one entry."""
    found: dict[str, None] = {}
    for name, (rows, columns) in linear:
        module = name.split(".")[-2]
        shards = min(tp, kv_heads) if module in ("k_proj", "v_proj") else tp
        by_rows = module in _FUSED_BY_ROWS
        size = rows if by_rows else columns
        if (by_rows or shards > 1) and size % (BLOCK * shards):
            every = re.sub(r"(?<=\.)\d+(?=\.)", "*", name)
            found[f"{every} ({size / shards:g} {'rows' if by_rows else 'columns'})"] = None
    return list(found)


def _listed(cut: list[str]) -> str:
    return f"SGLang needs multiples of {BLOCK} in every process's part of {', '.join(cut)}"


def _advice(linear: list[tuple[str, tuple[int, ...]]], kv_heads: int, server: TargetServer) -> str:
    divisors = [tp for tp in range(server.tp - 1, 0, -1) if server.tp % tp == 0]
    smaller = [tp for tp in divisors if not _sharded_inside_blocks(linear, kv_heads, tp)]
    if smaller:
        return f"set rollout.sglang.tp to {smaller[0]}, now {server.tp}, or weights.quantization to none"
    return "no rollout.sglang.tp mends that; set weights.quantization to " + (
        "none" if server.updates else "fp8_tensor"
    )
