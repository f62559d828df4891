"""GRPO for a role that writes verdicts: half of a step's prompts are to be answered by one, half by the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from rzero_mega.coevolution.verdict_reward import verdict_rewards
from rzero_mega.config.schema import TrainingConfig
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.prefetcher import Rollouts
from rzero_mega.phases.responses import read_finished, texts_and_ends
from rzero_mega.phases.start import StartFolders
from rzero_mega.phases.training import train_policy
from rzero_mega.rollout.protocol import Request, RolloutEngine

BothPrompts = tuple[tuple[int, ...], tuple[int, ...]]
"""The one that is to be answered by a verdict that is true, and the one by a verdict that is false."""


@dataclass(frozen=True)
class VerdictTask:
    """What is to be learnt: `prompts` of pairs, of which `batch` says which so many a step takes, counted from 1.

    `read` is the domain's; `true_rate` is what metrics call the share of verdicts that are true.
    """

    prompts: Sequence[BothPrompts]
    batch: Callable[[int, int], Sequence[int]]
    read: Callable[[str], bool | None]
    true_rate: str

    def rewards(
        self, responses: Iterable[tuple[str, bool]], anchors: Sequence[bool]
    ) -> tuple[list[float], dict[str, float]]:
        """Of responses, see `read_answers`, that are to say what `anchors` are; and the step's metrics."""
        verdicts = read_finished(self.read, responses)
        rewards = verdict_rewards(verdicts, anchors)
        metrics = {
            "agreement": fmean(rewards),
            self.true_rate: fmean(verdict is True for verdict in verdicts),
            "unread_rate": fmean(verdict is None for verdict in verdicts),
        }
        return rewards, metrics


def train_on_verdicts(
    ctx: RunContext,
    phase: ActivePhase,
    role: Literal["verifier", "critic"],
    start: StartFolders,
    training: TrainingConfig,
    task: VerdictTask,
    facts: Mapping[str, Any],
    then: Callable[[Path], Mapping[str, Any]],
) -> None:
    """As `train_policy`, on rollouts of the task; without a prompt the policy stays as it is."""
    if not task.prompts:
        training = replace(training, steps=0, use_step=None)
    size, pairs_per_step = training.rollouts_per_prompt, training.prompts_per_step // 2

    def roll_out(step: int, engine: RolloutEngine) -> Rollouts:
        batch = task.batch(step, pairs_per_step)
        asked = [prompt for item in batch for prompt in task.prompts[item]]
        requests = [Request(phase.seed_key(step, i), one, size, training.sampling) for i, one in enumerate(asked)]
        with ctx.stopwatch.measure("generate_seconds"):
            samples = engine.generate(requests)
        anchors = [verdict for _ in batch for verdict in (True, False) for _ in range(size)]
        with ctx.stopwatch.measure("reward_seconds"):
            rewards, metrics = task.rewards(texts_and_ends(ctx, samples), anchors)
        return Rollouts(samples, rewards, metrics)

    longest = max((len(prompt) for both in task.prompts for prompt in both), default=0)
    train_policy(ctx, phase, role, start, training, longest, roll_out, facts=facts, then=then)
