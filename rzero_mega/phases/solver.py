"""Phase 4: the Solver learns from the curated questions, its own majority answers as labels."""

from __future__ import annotations

from statistics import fmean

from rzero_mega import spmd
from rzero_mega.atomic import read_jsonl
from rzero_mega.coevolution.plan import PhasePlan, solver_batch
from rzero_mega.coevolution.solver_reward import SolverReward, solver_rewards
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.phases.context import RunContext
from rzero_mega.phases.prefetcher import Rollouts
from rzero_mega.phases.training import train_policy
from rzero_mega.phases.voting import boxed_answers
from rzero_mega.rollout.protocol import Request, RolloutEngine, Sample
from rzero_mega.tracking.progress import PhaseProgress


def run(ctx: RunContext, plan: PhasePlan, bar: PhaseProgress) -> None:
    """Train S_{i-1} into S_i."""
    training = ctx.config.solver.training
    assert plan.solver is not None and plan.data is not None
    dataset = list(read_jsonl(ctx.path(plan.data)))
    prompts = [ctx.encoder.encode_prompt(ctx.solver_prompt, question=item["question"]) for item in dataset]
    seed = derive_seed(ctx.seed_key(plan, "order"))

    def roll_out(step: int, solver: RolloutEngine) -> Rollouts:
        batch = solver_batch(len(dataset), step, training.prompts_per_step, seed)
        requests = [
            Request(ctx.seed_key(plan, step, i), prompts[item], training.rollouts_per_prompt, training.sampling)
            for i, item in enumerate(batch)
        ]
        with ctx.stopwatch.measure("generate_seconds"):
            samples = solver.generate(requests)
        labels = [dataset[item]["answer"] for item in batch for _ in range(training.rollouts_per_prompt)]
        with ctx.stopwatch.measure("reward_seconds"):
            rewards = spmd.on_rank_0(_rewards, ctx, samples, labels)
        metrics = {"accuracy_to_label": fmean(reward.accuracy for reward in rewards)}
        return Rollouts(samples, [reward.total for reward in rewards], metrics)

    longest_prompt = max(map(len, prompts), default=0)
    train_policy(ctx, plan, "solver", plan.solver, training, longest_prompt, roll_out, bar)


def _rewards(ctx: RunContext, samples: list[Sample], labels: list[str]) -> list[SolverReward]:
    assert ctx.pool is not None
    answers = boxed_answers(ctx, samples)
    pairs = [(answer, label) for answer, label in zip(answers, labels, strict=True) if answer is not None]
    verdicts = iter(ctx.pool.equivalent_pairs(pairs))
    correct = [answer is not None and next(verdicts).equal for answer in answers]
    return solver_rewards(correct, ctx.texts(samples), ctx.config.solver.reward)
