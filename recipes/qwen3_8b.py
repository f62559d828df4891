"""Qwen3-8B-Base on one node of eight GPUs of 80 GB: four train, four serve, as in the paper.

One copy of the model over the learner's four GPUs: with a second one activations fit only if all are recomputed. Two
pipeline stages would be a little faster by the planner's estimate, and leave no memory but its margin.
"""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config
from rzero_mega.config.schema import LayoutConfig, LearnerConfig, PlacementConfig

from ._paper import MICRO_BATCH_TOKENS, paper_on_cluster, servers


def qwen3_8b(overrides: Sequence[str] = ()) -> Config:
    """The paper's main run."""
    return paper_on_cluster(
        "qwen3_8b",
        model="Qwen/Qwen3-8B-Base",
        placement=PlacementConfig(nodes=1, gpus_per_node=8, servers="split"),
        learner=LearnerConfig(
            processes=4,
            layout=LayoutConfig(tp=4, sequence_parallel=True),
            tokens_per_micro_batch=MICRO_BATCH_TOKENS,
            recompute="none",
        ),
        servers=servers(replicas=4),
        overrides=overrides,
    )
