"""Qwen3-32B on four nodes of eight GPUs of 80 GB, which train and serve in turns.

The Qwen team has published no base model of this size: `Qwen/Qwen3-32B` is the one trained to follow instructions.

Two pipeline stages of four interleaved chunks, each on two nodes with two copies of it over four GPUs each. Activations
are recomputed within stages: kept, they would not fit.

The learner's linear layers compute in FP8 with a scale per 128 values, which the sizes allow; nobody has measured it on
a GPU with this model. `learner.fp8.format=none` trains in bf16, as the paper does.
"""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config
from rzero_mega.config.schema import Fp8Config, LayoutConfig, LearnerConfig

from ._paper import paper_on_cluster, servers


def qwen3_32b(overrides: Sequence[str] = ()) -> Config:
    """Beyond the paper: a dense model of 32B."""
    return paper_on_cluster(
        "qwen3_32b",
        model="Qwen/Qwen3-32B",
        nodes=4,
        learner=LearnerConfig(
            processes=32,
            layout=LayoutConfig(tp=4, pp=2, vpp=4, sequence_parallel=True),
            fp8=Fp8Config(format="hybrid", recipe="blockwise"),
            recompute="full",
        ),
        servers=servers(replicas=8, tp=4, host="0.0.0.0"),
        overrides=overrides,
    )
