"""Qwen3-4B-Base on one node of eight GPUs of 80 GB: four train, four serve, as in the paper.

Two copies of the model over two GPUs each. The planner finds context parallelism a little faster; it is for sequences
longer than these. `placement.servers=colocated learner.processes=8 rollout.sglang.replicas=8 learner.offload=all` gives
all eight GPUs to both in turns.
"""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config
from rzero_mega.config.schema import LayoutConfig, LearnerConfig, PlacementConfig

from ._paper import MICRO_BATCH_TOKENS, paper_on_cluster, servers


def qwen3_4b(overrides: Sequence[str] = ()) -> Config:
    """The paper's smaller run."""
    return paper_on_cluster(
        "qwen3_4b",
        model="Qwen/Qwen3-4B-Base",
        placement=PlacementConfig(nodes=1, gpus_per_node=8, servers="split"),
        learner=LearnerConfig(
            processes=4,
            layout=LayoutConfig(tp=2, sequence_parallel=True),
            tokens_per_micro_batch=MICRO_BATCH_TOKENS,
            recompute="none",
        ),
        servers=servers(replicas=4),
        overrides=overrides,
    )
