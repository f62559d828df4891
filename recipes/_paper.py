"""What the recipes for clusters have in common: the paper's algorithm, hardened, with SGLang's servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rzero_mega.config import Config, load_config, with_overrides
from rzero_mega.config.schema import (
    LayoutConfig,
    LearnerConfig,
    ModelConfig,
    PlacementConfig,
    RolloutConfig,
    SglangConfig,
)

# A question may be as long as the Challenger's response, and so may its answer: 4,096 tokens each. What is left is for
# the Solver's instructions.
MICRO_BATCH_TOKENS = 12_288
GPUS = 8


def paper_on_cluster(
    name: str,
    model: str,
    nodes: int,
    learner: LearnerConfig,
    servers: SglangConfig,
    overrides: Sequence[str],
) -> Config:
    """The recipe `name`: the presets `paper` and `hardened` with this model on these GPUs, then the overrides, checked.

    All GPUs train and serve in turns: by `rzero-mega plan --iteration` two thirds to four fifths of the time of
    half of them each. The ablation `no_checks` gives the paper's algorithm as it is.
    """
    config = load_config(["paper", "hardened"])
    config.recipe = name
    config.model = ModelConfig(model)
    config.placement = PlacementConfig(nodes=nodes, gpus_per_node=GPUS, servers="colocated")
    config.learner = replace(learner, tokens_per_micro_batch=MICRO_BATCH_TOKENS, offload="all")
    config.rollout = RolloutConfig(engine="sglang", sglang=servers)
    return with_overrides(config, overrides)


def paper_on_a_node(name: str, model: str, tp: int, overrides: Sequence[str]) -> Config:
    """`paper_on_cluster` on one node of eight GPUs.

    The paper's own set-up, in which four GPUs train and four serve, is `placement.servers=split learner.processes=4
    learner.offload=none rollout.sglang.replicas=4`.
    """
    return paper_on_cluster(
        name,
        model=model,
        nodes=1,
        learner=LearnerConfig(
            processes=GPUS,
            layout=LayoutConfig(tp=tp, sequence_parallel=tp > 1),
            recompute="none",
        ),
        servers=servers(replicas=GPUS),
        overrides=overrides,
    )


def servers(replicas: int, tp: int = 1, host: str = "127.0.0.1") -> SglangConfig:
    """`replicas` servers per role over `tp` GPUs each; `host` 0.0.0.0 where they run on other nodes than the first.

    Challenger and Solver share the servers' GPUs in turns, and who waits keeps its CUDA graphs and buffers: a fifth of
    the memory stays out of weights and KV cache, more than SGLang leaves by itself.
    """
    return SglangConfig(replicas=replicas, tp=tp, host=host, extra_arguments=["--mem-fraction-static=0.8"])
