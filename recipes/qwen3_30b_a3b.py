"""Qwen3-30B-A3B-Base, a mixture of 128 experts, on four nodes of eight GPUs of 80 GB, which train and serve
in turns.

No pipeline: the output layer, a tenth of a token's arithmetic, would make its last stage the slowest. Every node holds
two copies of what is no expert, over four GPUs each, and the experts once, sixteen to a GPU, so that tokens reach them
over NVLink. Training multiplies a token with 3 of 30 billion parameters, but a decoding step reads nearly all of them:
rollouts take most of a step.

bf16: training is the smaller part of a step, and products with experts of width 768 gain little from FP8.
"""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config
from rzero_mega.config.schema import LayoutConfig, LearnerConfig

from ._paper import paper_on_cluster, servers


def qwen3_30b_a3b(overrides: Sequence[str] = ()) -> Config:
    """Beyond the paper: a mixture of experts."""
    return paper_on_cluster(
        "qwen3_30b_a3b",
        model="Qwen/Qwen3-30B-A3B-Base",
        nodes=4,
        learner=LearnerConfig(
            processes=32,
            layout=LayoutConfig(tp=4, ep=8, etp=1, sequence_parallel=True),
            recompute="none",
        ),
        servers=servers(replicas=16, tp=2, host="0.0.0.0"),
        overrides=overrides,
    )
