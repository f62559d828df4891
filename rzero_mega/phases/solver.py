"""Phase 4: the Solver learns from the curated questions, by its own majority answers as labels or by scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any

from rzero_mega import spmd
from rzero_mega.coevolution.accumulation import Accumulated, accumulate
from rzero_mega.coevolution.plan import SolverInputs, further_questions, solver_batch, solver_row
from rzero_mega.coevolution.records import TrainingQuestion
from rzero_mega.coevolution.scores import UnlabelledQuestion
from rzero_mega.coevolution.solver_reward import SolverReward, solver_rewards
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.errors import UserError
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.critic_scoring import scorer_facts, scorer_of
from rzero_mega.phases.over_provision import OverProvision
from rzero_mega.phases.prefetcher import Rollouts
from rzero_mega.phases.resampling import Group, resample
from rzero_mega.phases.responses import answers_of
from rzero_mega.phases.scoring import Scorer
from rzero_mega.phases.start import Start
from rzero_mega.phases.training import train_policy
from rzero_mega.rollout.protocol import Request, RolloutEngine, Sample


@dataclass(frozen=True)
class Marking:
    """How responses are rewarded: `rewards` takes, for each, the number of its question and the sample, on every rank.

    `metric` is what the mean of the rewards' accuracy is called.
    """

    rewards: Callable[[Sequence[int], Sequence[Sample]], list[SolverReward]]
    metric: str


def run(ctx: RunContext, phase: ActivePhase, inputs: SolverInputs) -> None:
    """Train the Solver of the plan, S_{i-1} if nothing else is configured, into S_i on questions and their labels.

    Where answers have scores, there are no labels.
    """
    start = Start(inputs.solver, inputs.base)
    if isinstance(ctx.domain.answers, ScoredAnswers):
        questions = [row.question for row in ctx.records(inputs.dataset, UnlabelledQuestion)]
        scorer = scorer_of(ctx, ctx.domain.answers, inputs.critic)
        marking = Marking(partial(_rewards_of_scores, ctx, scorer, questions), "score")
        prompts = [ctx.solver_prompt(question) for question in questions]
        train_on(ctx, phase, start, prompts, marking, scorer_facts(scorer))
        return
    dataset, facts = ctx.records(inputs.dataset, TrainingQuestion), None
    if ctx.config.solver.accumulate:
        accumulated = spmd.on_rank_0(_accumulated, ctx, inputs)
        dataset = list(accumulated.questions)
        facts = {"questions": len(dataset), "disputed": accumulated.disputed}
    prompts, labels = [ctx.solver_prompt(item.question) for item in dataset], [item.answer for item in dataset]
    weights = [1.0 if item.weight is None else item.weight for item in dataset]
    weighted = any(item.weight is not None for item in dataset)
    train_on(ctx, phase, start, prompts, by_labels(ctx, labels), facts, weights if weighted else None)


def _accumulated(ctx: RunContext, inputs: SolverInputs) -> Accumulated:
    """What all data sets say together. UserError if they disagree on everything."""
    datasets = [ctx.records(source, TrainingQuestion) for source in (*inputs.earlier, inputs.dataset)]
    accumulated = accumulate(datasets, ctx.equal_answers)
    if not accumulated.questions:
        raise UserError(
            f"solver.accumulate: iterations label all of their {accumulated.disputed} questions differently, and none "
            "is left to train on; set it to false, or raise questions.count"
        )
    return accumulated


def by_labels(ctx: RunContext, labels: Sequence[str]) -> Marking:
    """`labels[i]` is what is to be answered to question i."""

    def rewards(asked: Sequence[int], samples: Sequence[Sample]) -> list[SolverReward]:
        return spmd.on_rank_0(_rewards, ctx, labels, asked, samples)

    return Marking(rewards, "accuracy_to_label")


def train_on(
    ctx: RunContext,
    phase: ActivePhase,
    start: Start,
    prompts: Sequence[tuple[int, ...]],
    marking: Marking,
    facts: Mapping[str, Any] | None = None,
    weights: Sequence[float] | None = None,
) -> None:
    """Train the policy of `start` on responses to `prompts`, by `marking`; `facts` are for the phase's summary.

    `weights[i]` scales the advantages of the responses to `prompts[i]`; None leaves all of them as they are.
    """
    training, rounds = ctx.config.solver.training, ctx.config.solver.resampling_rounds
    order = derive_seed(phase.seed_key("order"))
    size = training.rollouts_per_prompt
    over = None
    if ctx.config.solver.over_provision:
        over = OverProvision(
            training.prompts_per_step,
            ctx.config.solver.over_provision,
            lambda first, count: solver_row(len(prompts), first, count, order),
            ctx.config.solver.partial_rollouts,
        )

    def requests(items: Sequence[int], *stream: str | int) -> list[Request]:
        return [
            Request(phase.seed_key(*stream, i), prompts[item], size, training.sampling) for i, item in enumerate(items)
        ]

    def draw(solver: RolloutEngine, items: Sequence[int], *stream: str | int) -> list[Group]:
        with ctx.stopwatch.measure("generate_seconds"):
            samples = solver.generate(requests(items, *stream))
        return rewarded(items, samples)

    def rewarded(items: Sequence[int], samples: Sequence[Sample]) -> list[Group]:
        asked = [item for item in items for _ in range(size)]
        with ctx.stopwatch.measure("reward_seconds"):
            rewards = marking.rewards(asked, samples)
        places = [slice(size * i, size * (i + 1)) for i in range(len(items))]
        return [Group(item, samples[place], rewards[place]) for item, place in zip(items, places, strict=True)]

    def roll_out(step: int, solver: RolloutEngine) -> Rollouts:
        metrics: Mapping[str, float] = {}
        if over is None:
            batch: Sequence[int] = solver_batch(len(prompts), step, training.prompts_per_step, order)
            drawn = draw(solver, batch, step)
        else:
            with ctx.stopwatch.measure("generate_seconds"):
                found = over.draw(step, solver, lambda items: requests(items, step))
            batch, drawn, metrics = found.asked, rewarded(found.items, found.samples), found.metrics
        # What is asked besides follows from the step alone, like the batch: a resumed run asks the same.
        others = further_questions(len(prompts), step, batch, order) if rounds else []
        groups = resample(drawn, others, rounds, lambda number, items: draw(solver, items, step, "round", number))
        rollouts = _rollouts(drawn, groups, weights, marking.metric, resampled=rounds > 0)
        return replace(rollouts, metrics={**rollouts.metrics, **metrics})

    longest = max(map(len, prompts), default=0)
    train_policy(ctx, phase, "solver", start, training, longest, roll_out, facts=facts, carried=over)


def _rollouts(
    drawn: Sequence[Group], groups: Sequence[Group], weights: Sequence[float] | None, metric: str, resampled: bool
) -> Rollouts:
    """The rollouts of `groups`; `metric` is of what was `drawn` first, which nobody has chosen."""
    metrics = {metric: fmean(reward.accuracy for group in drawn for reward in group.rewards)}
    scales = None
    if weights is not None:
        scales = [weights[group.item] for group in groups for _ in group.samples]
        metrics["label_weight"] = fmean(scales)
    if resampled:
        metrics["no_signal_rate"] = fmean(not group.has_signal for group in drawn)
        metrics["resampled_rate"] = fmean(new is not old for new, old in zip(groups, drawn, strict=True))
    samples = [sample for group in groups for sample in group.samples]
    return Rollouts(samples, [reward.total for group in groups for reward in group.rewards], metrics, scales)


def _rewards(
    ctx: RunContext, labels: Sequence[str], asked: Sequence[int], samples: Sequence[Sample]
) -> list[SolverReward]:
    answers = answers_of(ctx, samples)
    pairs = [(answer, labels[item]) for answer, item in zip(answers, asked, strict=True) if answer is not None]
    verdicts = iter(ctx.grader.equivalent_pairs(pairs))
    correct = [answer is not None and next(verdicts).equal for answer in answers]
    return solver_rewards(correct, ctx.texts(samples), ctx.config.solver.reward)


def _rewards_of_scores(
    ctx: RunContext, scorer: Scorer, questions: Sequence[str], asked: Sequence[int], samples: Sequence[Sample]
) -> list[SolverReward]:
    """For all ranks: a Critic scores on all of them."""
    answers = spmd.on_rank_0(answers_of, ctx, samples)
    scores = scorer.scores([(questions[item], answer) for item, answer in zip(asked, answers, strict=True)])
    return spmd.on_rank_0(lambda: solver_rewards(scores, ctx.texts(samples), ctx.config.solver.reward))
