"""The frozen Solver answers questions; the majority of its answers is the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rzero_mega import spmd
from rzero_mega.coevolution.votes import Vote, majority_vote
from rzero_mega.config.schema import VotesConfig
from rzero_mega.grading import extract_answer
from rzero_mega.phases.context import Workbench
from rzero_mega.rollout.protocol import Request, RolloutEngine, Sample


@dataclass(frozen=True)
class Poll:
    """A vote with the answers behind it, by sample index; None where a sample gave none. `tokens` of all samples."""

    vote: Vote
    answers: tuple[str | None, ...]
    tokens: int


def poll(bench: Workbench, solver: RolloutEngine, questions: Sequence[str], votes: VotesConfig, key: str) -> list[Poll]:
    """m answers to every question, and the vote on them."""
    requests = [
        Request(f"{key}/{i}", prompt, votes.samples, votes.sampling)
        for i, prompt in enumerate(
            bench.encoder.encode_prompt(bench.solver_prompt, question=text) for text in questions
        )
    ]
    with bench.stopwatch.measure("generate_seconds"):
        samples = solver.generate(requests)
    with bench.stopwatch.measure("reward_seconds"):
        return spmd.on_rank_0(_count, bench, samples, votes)


def boxed_answers(bench: Workbench, samples: Sequence[Sample]) -> list[str | None]:
    """The boxed answer of every sample that ended by itself."""
    texts = bench.texts(samples)
    return [extract_answer(text) if s.finished else None for text, s in zip(texts, samples, strict=True)]


def _count(bench: Workbench, samples: Sequence[Sample], votes: VotesConfig) -> list[Poll]:
    assert bench.pool is not None
    answers, m = boxed_answers(bench, samples), votes.samples
    starts = range(0, len(answers), m)
    groups = [answers[start : start + m] for start in starts]
    polls = []
    for start, classes, group in zip(starts, bench.pool.equivalence_classes(groups), groups, strict=True):
        drawn = samples[start : start + m]
        cut_off = sum(not sample.finished for sample in drawn)
        vote = majority_vote(classes, group, votes.unanswered, cut_off)
        polls.append(Poll(vote, tuple(group), sum(len(sample.tokens) for sample in drawn)))
    return polls
