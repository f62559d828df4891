"""OctoThinker-8B-Hybrid-Base (Llama 3.1) on one node of eight GPUs of 80 GB: four train, four serve, as in the paper.

One copy of the model over the learner's four GPUs, for the reasons of `qwen3_8b`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config
from rzero_mega.config.schema import LayoutConfig, LearnerConfig, PlacementConfig

from ._paper import MICRO_BATCH_TOKENS, paper_on_cluster, servers


def octothinker_8b(overrides: Sequence[str] = ()) -> Config:
    """The paper's larger model of another family."""
    return paper_on_cluster(
        "octothinker_8b",
        model="OctoThinker/OctoThinker-8B-Hybrid-Base",
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
