"""The planner's memory is what torch holds, for Megatron models that train on this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rzero_mega.assets import nano_base_path
from rzero_mega.learner import output_layer
from rzero_mega.planning import memory
from rzero_mega.planning.models import model_named
from rzero_mega.weights.shape import LatentAttention, ModelShape
from tools import bench_planner

WITHIN = 0.15
NANO = model_named(str(nano_base_path()))
SMALL = ModelShape("qwen3", 3, 160, 416, 8, 2, 24, 1000, 4096, 1e-6, 1e4, None, False, True, False)
LLAMA = replace(SMALL, family="llama", qk_norm=False, kv_heads=8, tied=True)
QWEN2 = replace(SMALL, family="qwen2", qk_norm=False, qkv_bias=True)
MOE = replace(SMALL, family="qwen3_moe", experts=8, experts_per_token=2, expert_ffn=96)
LATENT = replace(
    MOE, family="deepseek_v3", kv_heads=8, qk_norm=False, biased_routing=True, shared_ffn=96, dense_layers=1,
    head_dim=24, latent=LatentAttention(96, 64, 16, 8, 24, None),
)  # fmt: skip
MID = replace(SMALL, layers=4, hidden=512, ffn=1536, heads=8, kv_heads=4, head_dim=64, vocab=8000, tied=True)
CASES: dict[str, dict[str, Any]] = {
    "nano-fp32": {"shape": NANO, "dtype": "float32"},
    "nano-bf16": {"shape": NANO},
    "nano-selective": {"shape": NANO, "recompute": "selective"},
    "nano-full": {"shape": NANO, "recompute": "full"},
    "untied-bf16": {"shape": SMALL},
    "llama-fp32": {"shape": LLAMA, "dtype": "float32"},
    "llama-selective": {"shape": LLAMA, "recompute": "selective"},
    "qwen2-bf16": {"shape": QWEN2},
    "moe-fp32": {"shape": MOE, "dtype": "float32"},
    "moe-bf16": {"shape": MOE},
    "latent-fp32": {"shape": LATENT, "dtype": "float32"},
    "latent-bf16": {"shape": LATENT},
    "wide-bf16": {"shape": MID, "length": 48},
}


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_memory_is_predicted(name: str) -> None:
    rows = bench_planner.compare(bench_planner.Case(name, **CASES[name]))
    assert {row.kind for row in rows} == set(bench_planner.KINDS)
    assert all(row.measured > 0 for row in rows)
    wrong = {row.kind: f"{row.error:+.1%}" for row in rows if abs(row.error) > WITHIN}
    assert wrong == {}


@pytest.mark.parametrize("tied", [False, True])
def test_a_critic_that_trains_holds_what_is_predicted(tied: bool) -> None:
    rows = bench_planner.compare(bench_planner.Case("critic", replace(MID, scores=1, tied=tied), "float32", length=48))
    assert {row.kind for row in rows} == {*bench_planner.KINDS} - {"logits"}
    assert {row.kind: f"{row.error:+.1%}" for row in rows if abs(row.error) > WITHIN} == {}


def test_recompute_changes_what_is_measured() -> None:
    plain, full = (bench_planner.measure(bench_planner.Case("nano", NANO, recompute=how)) for how in ("none", "full"))
    assert full["activations"] < plain["activations"] / 5
    assert full["weights"] == plain["weights"]


def test_the_planner_knows_the_learner_s_chunks_of_logits() -> None:
    assert memory.CHUNK_BYTES == output_layer.CHUNK_BYTES
    assert memory.PIECES == {"transformer_engine": output_layer.GPU_PIECE, "local": output_layer.CPU_PIECE}
