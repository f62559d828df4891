"""Phase 1: the Challenger learns to write questions at the edge of what the frozen Solver can do."""

from __future__ import annotations

from statistics import fmean

from rzero_mega import spmd
from rzero_mega.coevolution.challenger_reward import ChallengerReward, challenger_rewards
from rzero_mega.coevolution.checks.asked import Asked
from rzero_mega.coevolution.checks.shares import exploit_shares
from rzero_mega.coevolution.diversity import clusters_per_question, unique_share
from rzero_mega.coevolution.near_duplicates import find_copies
from rzero_mega.coevolution.plan import PhasePlan
from rzero_mega.coevolution.questions import Question, parse_question
from rzero_mega.coevolution.repetition import cluster_labels
from rzero_mega.config.schema import Config
from rzero_mega.phases.context import RunContext
from rzero_mega.phases.prefetcher import Rollouts
from rzero_mega.phases.training import train_policy
from rzero_mega.phases.voting import Poll, poll
from rzero_mega.rollout.protocol import Request, RolloutEngine, Sample
from rzero_mega.tracking.progress import PhaseProgress


def run(ctx: RunContext, plan: PhasePlan, bar: PhaseProgress) -> None:
    """Train Q_{i-1} against S_{i-1} into Q_i."""
    config = ctx.config.challenger
    assert plan.challenger is not None and plan.solver is not None
    prompt = ctx.encoder.encode_prompt(ctx.challenger_prompt)
    solver = ctx.engine("solver", ctx.path(plan.solver))

    def roll_out(step: int, challenger: RolloutEngine) -> Rollouts:
        training = config.training
        requests = [
            Request(ctx.seed_key(plan, step, i), prompt, training.rollouts_per_prompt, training.sampling)
            for i in range(training.prompts_per_step)
        ]
        with ctx.stopwatch.measure("generate_seconds"):
            samples = challenger.generate(requests)
        questions = spmd.on_rank_0(read_questions, ctx, samples, config.reward.require_boxed)
        asked = [question.text for question in questions if question is not None]
        polls = iter(poll(ctx, solver, asked, config.votes, ctx.seed_key(plan, step, "votes")))
        answered = [next(polls) if question is not None else None for question in questions]
        with ctx.stopwatch.measure("reward_seconds"):
            votes = [poll.vote if poll is not None else None for poll in answered]
            rewards = spmd.on_rank_0(challenger_rewards, questions, votes, config.reward, ctx.config.checks)
            metrics = spmd.on_rank_0(_metrics, questions, answered, rewards, ctx.config)
        return Rollouts(samples, [reward.total for reward in rewards], metrics)

    train_policy(ctx, plan, "challenger", plan.challenger, config.training, len(prompt), roll_out, bar)
    solver.close()


def read_questions(ctx: RunContext, samples: list[Sample], require_boxed: bool) -> list[Question | None]:
    """The question of every response; None where the format is not kept."""
    texts = ctx.texts(samples)
    return [parse_question(t, s.finished, require_boxed) for t, s in zip(texts, samples, strict=True)]


def _metrics(
    questions: list[Question | None],
    polls: list[Poll | None],
    rewards: list[ChallengerReward],
    config: Config,
) -> dict[str, float]:
    repetition, near = config.challenger.reward.repetition, config.labels.curation.near_duplicates
    asked = [question.text for question in questions if question is not None]
    if not asked:
        return {"well_formed_rate": 0.0}
    shares = [poll.vote.share for poll in polls if poll is not None]
    unanswered = [answer is None for poll in polls if poll is not None for answer in poll.answers]
    tried = [
        Asked(question, poll.vote)
        for question, poll in zip(questions, polls, strict=True)
        if question is not None and poll is not None
    ]
    copies = find_copies(asked, (), near.threshold, near.shingle, repetition.tokenizer)
    exploits = exploit_shares(tried, copies, config.checks)
    labels = cluster_labels(asked, repetition.symmetric, repetition.distance_threshold, repetition.tokenizer)
    return {
        "well_formed_rate": len(asked) / len(questions),
        "p_hat_mean": fmean(shares),
        "difficulty": 1.0 - fmean(shares),
        "uncertainty_mean": fmean(reward.uncertainty for reward in rewards if reward.well_formed),
        "repetition_mean": fmean(reward.repetition for reward in rewards if reward.well_formed),
        "unanswered_rate": fmean(unanswered),
        "unique_share": unique_share(asked),
        "clusters_share": clusters_per_question(labels),
        "question_length": fmean(len(text) for text in asked),
        "answer_length": fmean(poll.tokens / poll.vote.samples for poll in polls if poll is not None),
        "flawed_rate": sum(reward.flaw is not None for reward in rewards) / len(asked),
        **{f"hacking/{name}": share for name, share in exploits.items()},
    }
