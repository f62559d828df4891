"""Phase 1: the Challenger learns to write questions at the edge of what the frozen Solver can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import TypeAlias

from rzero_mega import spmd
from rzero_mega.coevolution.challenger_reward import (
    ChallengerReward,
    challenger_rewards,
    scored_challenger_rewards,
)
from rzero_mega.coevolution.checks.shares import exploit_shares
from rzero_mega.coevolution.diversity import clusters_per_question, unique_share
from rzero_mega.coevolution.near_duplicates import find_copies
from rzero_mega.coevolution.plan import ChallengerInputs, EarlierDataSets
from rzero_mega.coevolution.question_memory import QuestionMemory
from rzero_mega.coevolution.records import AnsweredQuestion, Answers, WrittenQuestion
from rzero_mega.coevolution.repetition import cluster_labels
from rzero_mega.coevolution.scores import ScoredQuestion, UnlabelledQuestion, spread
from rzero_mega.config.schema import Config, RepetitionConfig
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.domains.registry import checks_of
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.critic_scoring import scorer_facts, scorer_of
from rzero_mega.phases.place import Place
from rzero_mega.phases.prefetcher import Rollouts
from rzero_mega.phases.question_stream import QuestionStream
from rzero_mega.phases.responses import written_questions
from rzero_mega.phases.scoring import Scorer, scored_questions
from rzero_mega.phases.start import Start
from rzero_mega.phases.training import train_policy
from rzero_mega.phases.voting import collect_answers, count_votes, solver_alone
from rzero_mega.rollout.protocol import LeadingEngine, Request, RolloutEngine

Asked: TypeAlias = tuple[list[WrittenQuestion | None], list[Answers]]
"""The question of every response, None where there is none, and the answers to each question."""

Earn: TypeAlias = Callable[[Callable[[], Asked]], tuple[list[float], dict[str, float]]]
"""From what rank 0 is asked for: every reward, and the step's metrics. For all ranks."""


def run(ctx: RunContext, phase: ActivePhase, inputs: ChallengerInputs) -> None:
    """Train Q_{i-1} against S_{i-1} into Q_i."""
    config = ctx.config.challenger
    training, prompt = config.training, ctx.challenger_prompt()
    # A Critic that writes verdicts does so in the Solver's place, after its answers.
    place, model = Place(ctx, "solver"), ctx.model(inputs.solver)
    place.engine(model, wait=False)
    memory, facts = _memory(ctx, inputs.earlier), dict[str, str]()
    earn: Earn = partial(_by_votes, ctx, memory)
    if isinstance(ctx.domain.answers, ScoredAnswers):
        scorer = scorer_of(ctx, ctx.domain.answers, inputs.critic, place)
        earn, facts = partial(_by_scores, ctx, ctx.domain.answers, scorer, memory), scorer_facts(scorer)

    def roll_out(step: int, challenger: RolloutEngine) -> Rollouts:
        requests = [
            Request(phase.seed_key(step, i), prompt, training.rollouts_per_prompt, training.sampling)
            for i in range(training.prompts_per_step)
        ]
        key, solver = phase.seed_key(step, "votes"), place.engine(model)
        if isinstance(challenger, LeadingEngine) and challenger.can_lead(solver):
            return _streamed(ctx, challenger, requests, solver, key, earn)
        with ctx.stopwatch.measure("generate_seconds"):
            samples = challenger.generate(requests)
        questions = written_questions(ctx, samples, config.reward.require_boxed)
        written = [question for question in questions if question is not None]
        answers = collect_answers(ctx, solver, written, config.votes, key)
        with ctx.stopwatch.measure("reward_seconds"):
            totals, metrics = earn(lambda: (questions, answers))
        return Rollouts(samples, totals, metrics)

    start = Start(inputs.challenger, inputs.base)
    train_policy(ctx, phase, "challenger", start, training, len(prompt), roll_out, facts=facts)
    place.close()


def _streamed(
    ctx: RunContext,
    challenger: LeadingEngine,
    requests: Sequence[Request],
    solver: RolloutEngine,
    key: str,
    earn: Earn,
) -> Rollouts:
    """A step's rollouts, with the Solver's servers at work as soon as the first question is there."""
    config = ctx.config.challenger
    stream = QuestionStream(ctx, config.votes, config.reward.require_boxed, solver.context, key)
    with ctx.stopwatch.measure("generate_seconds"):
        samples, votes = challenger.generate_followed(requests, solver, stream.follow)
    with ctx.stopwatch.measure("reward_seconds"):
        totals, metrics = earn(lambda: stream.outcome(len(samples), votes))
    return Rollouts(samples, totals, metrics)


def _memory(ctx: RunContext, earlier: EarlierDataSets) -> QuestionMemory | None:
    """What earlier iterations trained on, on rank 0; None on the others, and where nothing is to be remembered."""
    reward, found = ctx.config.challenger.reward, list[QuestionMemory]()

    def build() -> None:
        questions = (row.question for source in earlier for row in ctx.records(source, UnlabelledQuestion))
        found.append(QuestionMemory(questions, reward.memory, reward.repetition))

    if reward.memory.weight:
        spmd.on_rank_0(build)
    return found[0] if found else None


def _by_votes(
    ctx: RunContext, memory: QuestionMemory | None, asked: Callable[[], Asked]
) -> tuple[list[float], dict[str, float]]:
    def earn() -> tuple[list[float], dict[str, float]]:
        votes, (questions, answers) = ctx.config.challenger.votes, asked()
        written = [question for question in questions if question is not None]
        answered = count_votes(ctx, written, [solver_alone(votes)], [answers], votes.unanswered)
        rewards, metrics = reward_questions(questions, answered, ctx.config, memory)
        return [reward.total for reward in rewards], metrics

    return spmd.on_rank_0(earn)


def _by_scores(
    ctx: RunContext, domain: ScoredAnswers, scorer: Scorer, memory: QuestionMemory | None, asked: Callable[[], Asked]
) -> tuple[list[float], dict[str, float]]:
    questions, answers = spmd.on_rank_0(asked)
    scored = scored_questions(scorer, domain, [question for question in questions if question is not None], answers)

    def earn() -> tuple[list[float], dict[str, float]]:
        similarities, config = _similarities(questions, memory), ctx.config
        scores = [question.scores for question in scored]
        rewards = scored_challenger_rewards(questions, scores, config.challenger.reward, similarities)
        return [reward.total for reward in rewards], _metrics_of_scores(len(questions), scored, rewards, config)

    return spmd.on_rank_0(earn)


def reward_questions(
    questions: list[WrittenQuestion | None],
    answered: list[AnsweredQuestion],
    config: Config,
    memory: QuestionMemory | None = None,
) -> tuple[list[ChallengerReward], dict[str, float]]:
    """The reward of every response, and the step's metrics. `answered` are the well-formed questions, in order."""
    votes = iter(question.vote for question in answered)
    vote_or_none = [None if question is None else next(votes) for question in questions]
    similarities = _similarities(questions, memory)
    rewards = challenger_rewards(questions, vote_or_none, config.challenger.reward, checks_of(config), similarities)
    return rewards, _metrics(len(questions), answered, rewards, config)


def _similarities(questions: Sequence[WrittenQuestion | None], memory: QuestionMemory | None) -> Sequence[float]:
    """How similar each is to one that is remembered; nothing without a memory."""
    return memory.similarities([question.text if question else "" for question in questions]) if memory else ()


def _metrics(
    responses: int, answered: list[AnsweredQuestion], rewards: list[ChallengerReward], config: Config
) -> dict[str, float]:
    near = config.labels.curation.near_duplicates
    if not answered:
        return {"well_formed_rate": 0.0}
    texts = [question.question.text for question in answered]
    share = fmean(question.vote.share for question in answered)
    copies = find_copies(texts, (), near.threshold, near.shingle, config.challenger.reward.repetition.tokenizer)
    exploits = exploit_shares(answered, copies, checks_of(config))
    return {
        "well_formed_rate": len(answered) / responses,
        "p_hat_mean": share,
        "difficulty": 1.0 - share,
        **_of_rewards(rewards, config.challenger.reward.memory.weight),
        "unanswered_rate": fmean(answer is None for question in answered for answer in question.answers),
        **_of_texts(texts, config.challenger.reward.repetition),
        "answer_length": fmean(question.tokens / question.vote.samples for question in answered),
        "flawed_rate": sum(reward.flaw is not None for reward in rewards) / len(answered),
        **{f"hacking/{name}": value for name, value in exploits.items()},
    }


def _metrics_of_scores(
    responses: int, scored: list[ScoredQuestion], rewards: list[ChallengerReward], config: Config
) -> dict[str, float]:
    """Without hidden quality, which is no one's business while roles are trained."""
    if not scored:
        return {"well_formed_rate": 0.0}
    samples = sum(len(question.answers) for question in scored)
    return {
        "well_formed_rate": len(scored) / responses,
        "score_mean": fmean(fmean(question.scores) for question in scored),
        "spread_mean": fmean(spread(question.scores) for question in scored),
        **_of_rewards(rewards, config.challenger.reward.memory.weight),
        "unanswered_rate": sum(question.unanswered for question in scored) / samples,
        **_of_texts([question.question.text for question in scored], config.challenger.reward.repetition),
        "answer_length": sum(question.tokens for question in scored) / samples,
    }


def _of_rewards(rewards: list[ChallengerReward], memory_weight: float) -> dict[str, float]:
    """Of the well-formed questions: means of the parts; with a memory also the share that pays for being remembered."""
    earned = [reward for reward in rewards if reward.well_formed]
    found = {
        "uncertainty_mean": fmean(reward.uncertainty for reward in earned),
        "repetition_mean": fmean(reward.repetition for reward in earned),
    }
    if memory_weight:
        found["memory_mean"] = fmean(reward.memory for reward in earned)
        found["remembered_rate"] = fmean(reward.memory > 0 for reward in earned)
    return found


def _of_texts(texts: list[str], repetition: RepetitionConfig) -> dict[str, float]:
    clusters = cluster_labels(texts, repetition.symmetric, repetition.distance_threshold, repetition.tokenizer)
    return {
        "unique_share": unique_share(texts),
        "clusters_share": clusters_per_question(clusters),
        "question_length": fmean(len(text) for text in texts),
    }
