"""A generative Critic's phase with real weights and a real engine: killed in the middle, and on several ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.phases import generative_critic, steps, training, warm_up
from rzero_mega.phases.labelled import SftSteps
from tests.learner.forked_ranks import LayoutCase
from tests.phases.critic_ranks import run_cases
from tests.phases.killed import assert_it_goes_on, left
from tests.phases.scored import train
from tests.phases.scripted import ScriptedRun

STEPS = 2
SETTINGS = (
    "domain=rewriting",
    "critic.train=true",
    "critic.form=generative",
    f"critic.comparing.training={{steps: {STEPS}, prompts_per_step: 4, rollouts_per_prompt: 2}}",
    "critic.comparing.training={sampling: {max_new_tokens: 4}, grpo: {sequences_per_update: 8}}",
    # Weights move in every step, whatever it earns.
    "critic.comparing.training.optimizer={learning_rate: 0.1, weight_decay: 1.0}",
    "critic.comparing={warm_up: {steps: 2, sft: {sequences_per_update: 4}}, max_new_tokens: 4}",
    "critic.gate={share: 0.3, pairs: 2}",
    "challenger.reward.uncertainty=spread",
    "learner.tokens_per_micro_batch=512",
    "learner.checkpoint={every: 1, asynchronous: false}",
)
MOMENTS: dict[str, tuple[Any, str, int]] = {
    "in the warm-up": (SftSteps, "take", 2),
    "before the warm-up is written down": (warm_up, "_keep", 1),
    "after a step": (training, "train_step", 2),
    "while it is measured": (generative_critic, "Comparer", 1),
    "as it is finished": (steps, "_finish", 1),
}


def test_it_goes_on_to_the_same_model_manifest_and_rows_whenever_it_was_killed(
    training_runs: Callable[..., ScriptedRun],
) -> None:
    _, said, logged = assert_it_goes_on(lambda name: training_runs(name, *SETTINGS), train, left, MOMENTS)
    assert len(logged) == STEPS and said["warm_up_pairs"] == 4 and said["measured"]["order"]["comparisons"] > 10


@pytest.mark.gloo
def test_on_two_ranks_it_learns_is_measured_and_scores_labels_and_solver_as_on_one(tmp_path: Path) -> None:
    found = run_cases([LayoutCase("generative-one"), LayoutCase("generative-two", dp=2)], tmp_path)
    one, two = found["generative-one"], found["generative-two"]
    assert two.critic["measured"] == one.critic["measured"] and one.critic["measured"]["order"]["unread"] < 0.5
    assert two.critic["pairs"] == one.critic["pairs"] and two.scores == one.scores and len(set(one.scores)) > 1
    told = [[(row["answers"], row["scores"]) for row in outcome.answered] for outcome in (one, two)]
    assert told[0] == told[1] and "scorer" in one.answered[0]
    for ours, theirs in zip(two.steps, one.steps, strict=True):
        keys = ("reward_mean", "score", "response_length", "loss", "grad_norm")
        assert {key: ours[key] for key in keys} == pytest.approx({key: theirs[key] for key in keys}, abs=1e-4)
