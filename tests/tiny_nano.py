"""Overrides that make a nano run as small as it can be and still do everything."""

from __future__ import annotations

SIZES = (
    "challenger.training.prompts_per_step=4",
    "challenger.training.grpo.sequences_per_update=16",
    "challenger.votes.samples=4",
    "questions.count=60",
    "questions.per_part=30",
    "labels.questions_per_part=30",
    "labels.votes.samples=6",
    "labels.gauges={questions: 4, votes: 2}",
    "solver.training.prompts_per_step=4",
    "solver.training.grpo.sequences_per_update=16",
    "learner.checkpoint.every=1",
    "evaluation.benchmarks=[arithmetic:2]",
    "run.minimum_free_mb=0",
)
