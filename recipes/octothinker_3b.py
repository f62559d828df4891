"""OctoThinker-3B-Hybrid-Base (Llama 3.2) on one node of eight GPUs of 80 GB: four train, four serve, as in the paper.

The learner's GPUs hold a copy of the model each, which is the fastest layout by the planner's estimate.
"""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config
from rzero_mega.config.schema import LayoutConfig, LearnerConfig, PlacementConfig

from ._paper import MICRO_BATCH_TOKENS, paper_on_cluster, servers


def octothinker_3b(overrides: Sequence[str] = ()) -> Config:
    """The paper's small model of another family."""
    return paper_on_cluster(
        "octothinker_3b",
        model="OctoThinker/OctoThinker-3B-Hybrid-Base",
        placement=PlacementConfig(nodes=1, gpus_per_node=8, servers="split"),
        learner=LearnerConfig(
            processes=4,
            layout=LayoutConfig(tp=1),
            tokens_per_micro_batch=MICRO_BATCH_TOKENS,
            recompute="none",
        ),
        servers=servers(replicas=4),
        overrides=overrides,
    )
