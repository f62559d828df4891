"""Qwen3-14B-Base on two nodes of eight GPUs of 80 GB, which train and serve in turns.

Each node trains two copies over four GPUs each, nothing recomputed. Four servers of two GPUs on a node hold 1.4 times
the KV cache that eight servers of one would.

The learner's linear layers compute in FP8 with a scale per 128 values, which the sizes allow; nobody has measured it on
a GPU with this model. `learner.fp8.format=none` trains in bf16, as the paper does.
"""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config
from rzero_mega.config.schema import Fp8Config, LayoutConfig, LearnerConfig

from ._paper import paper_on_cluster, servers


def qwen3_14b(overrides: Sequence[str] = ()) -> Config:
    """Beyond the paper: what its recipe does at 14B."""
    return paper_on_cluster(
        "qwen3_14b",
        model="Qwen/Qwen3-14B-Base",
        nodes=2,
        learner=LearnerConfig(
            processes=16,
            layout=LayoutConfig(tp=4, sequence_parallel=True),
            fp8=Fp8Config(format="hybrid", recipe="blockwise"),
            recompute="none",
        ),
        servers=servers(replicas=8, tp=2, host="0.0.0.0"),
        overrides=overrides,
    )
