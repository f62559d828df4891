"""The frozen Solver answers questions; the majority of its answers is the label."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega import spmd
from rzero_mega.coevolution.records import AnsweredQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import majority_vote
from rzero_mega.config.schema import VotesConfig
from rzero_mega.phases.context import InferenceContext
from rzero_mega.phases.drawing import draw_where_possible
from rzero_mega.phases.responses import boxed_answers
from rzero_mega.rollout.protocol import Request, RolloutEngine, Sample


def collect_votes(
    ctx: InferenceContext, solver: RolloutEngine, questions: Sequence[WrittenQuestion], votes: VotesConfig, key: str
) -> list[AnsweredQuestion]:
    """`votes.samples` answers to every question, and the vote on them; `key` names the random streams."""
    requests = [
        Request(f"{key}/{i}", ctx.solver_prompt(question.text), votes.samples, votes.sampling)
        for i, question in enumerate(questions)
    ]
    with ctx.stopwatch.measure("generate_seconds"):
        samples = draw_where_possible(solver, requests)
    with ctx.stopwatch.measure("reward_seconds"):
        return spmd.on_rank_0(_count, ctx, questions, samples, votes)


def _count(
    ctx: InferenceContext, questions: Sequence[WrittenQuestion], samples: Sequence[Sample], votes: VotesConfig
) -> list[AnsweredQuestion]:
    answers, m = boxed_answers(ctx, samples), votes.samples
    groups = [answers[start : start + m] for start in range(0, len(answers), m)]
    answered = []
    for i, (question, group, classes) in enumerate(
        zip(questions, groups, ctx.grader.equivalence_classes(groups), strict=True)
    ):
        drawn = samples[i * m : (i + 1) * m]
        cut_off = sum(not sample.finished for sample in drawn)
        vote = majority_vote(classes, group, votes.unanswered, cut_off)
        answered.append(AnsweredQuestion(question, vote, tuple(group), sum(len(sample.tokens) for sample in drawn)))
    return answered
