"""A recipe for GPUs with few draws, so that an iteration is simulated in a moment."""

from __future__ import annotations

from typing import Any

from rzero_mega.recipes import load_recipe

from rzero_mega.planning.assumptions import shipped
from rzero_mega.planning.hardware import GPUS
from rzero_mega.simulation.site import Site

FEW = (
    "challenger.training.prompts_per_step=32",
    "challenger.training.rollouts_per_prompt=4",
    "challenger.votes.samples=4",
    "questions.count=250",
    "questions.per_part=100",
    "labels.questions_per_part=100",
    "labels.votes.samples=3",
    "labels.gauges={questions: 10, votes: 2}",
    "solver.training.prompts_per_step=16",
    "solver.training.grpo.sequences_per_update=40",
    "rollout.sglang.max_running_requests=16",
    "placement.servers=split",
    "learner.processes=4",
    "learner.offload=none",
    "rollout.sglang.replicas=4",
)


def small(*overrides: str, recipe: str = "qwen3_8b", **fields: Any) -> Site:
    return Site(load_recipe(recipe, [*FEW, *overrides]), GPUS["H100"], shipped(), **fields)
