"""Models answer questions; the majority of the answers is the label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from rzero_mega import spmd
from rzero_mega.coevolution.panel import panel_vote
from rzero_mega.coevolution.records import AnsweredQuestion, Answers, WrittenQuestion
from rzero_mega.config.panel import Voter, VoteSource
from rzero_mega.config.schema import SamplingConfig, VotesConfig
from rzero_mega.domains.reexpression.form import Form, Reexpress, as_it_stands
from rzero_mega.phases.context import InferenceContext
from rzero_mega.phases.drawing import QuestionsAsked, draw_where_possible
from rzero_mega.phases.responses import answers_of, printed_answers
from rzero_mega.rollout.protocol import FinishReason, Request, RolloutEngine, Sample

MOST_FORMS = 3
"""Other forms of a question that the votes of a source are spread over."""


def solver_alone(votes: VotesConfig) -> VoteSource:
    """The Solver as the only source, asked about questions as they stand."""
    return VoteSource(Voter.SOLVER, reexpressed=False, samples=votes.samples)


def collect_answers(
    ctx: InferenceContext, solver: RolloutEngine, questions: Sequence[WrittenQuestion], votes: VotesConfig, key: str
) -> list[Answers]:
    """`votes.samples` answers of one model to every question, on rank 0; nothing on the others.

    `key` names the random streams.
    """
    asked = ask_source(ctx, questions, solver_alone(votes), votes.sampling, key)
    with ctx.stopwatch.measure("generate_seconds"):
        samples = draw_where_possible(solver, asked.requests)
    with ctx.stopwatch.measure("reward_seconds"):
        return spmd.kept_on_rank_0(lambda: list(asked.read(samples))) or []


def ask_source(
    ctx: InferenceContext,
    questions: Sequence[WrittenQuestion],
    source: VoteSource,
    sampling: SamplingConfig,
    key: str,
    reexpress: Reexpress = as_it_stands,
) -> QuestionsAsked:
    """Have a source of votes asked every question; `key` names the random streams.

    `reexpress` has the other forms of questions, for a source that is asked on them.
    """
    asked = [
        asked
        for i, question in enumerate(questions)
        for asked in _asked(ctx, question.text, source, sampling, f"{key}/{i}", reexpress)
    ]
    return QuestionsAsked([one.request for one in asked], partial(_read, ctx, asked, source))


def count_votes(
    ctx: InferenceContext,
    questions: Sequence[WrittenQuestion],
    sources: Sequence[VoteSource],
    answers: Sequence[Sequence[Answers]],
    unanswered: str,
) -> list[AnsweredQuestion]:
    """The vote on every question; `answers` has a list per source, with what it answers to each question."""
    pooled = [_pooled(of_all_sources) for of_all_sources in zip(*answers, strict=True)]
    classes = ctx.grader.equivalence_classes([one.answers for one in pooled])
    return [
        AnsweredQuestion(
            question, panel_vote(sources, equal, one.answers, unanswered, one.cut_off), one.answers, one.tokens
        )
        for question, one, equal in zip(questions, pooled, classes, strict=True)
    ]


@dataclass(frozen=True)
class _Asked:
    """A request, and the form of the question that it asks; None for the question as it stands."""

    request: Request
    form: Form | None


def _asked(
    ctx: InferenceContext, question: str, source: VoteSource, sampling: SamplingConfig, key: str, reexpress: Reexpress
) -> Iterator[_Asked]:
    forms = reexpress(question, min(MOST_FORMS, source.samples)) if source.reexpressed else ()
    if not forms:
        prompt = ctx.program_prompt(question) if source.programs else ctx.solver_prompt(question)
        yield _Asked(Request(key, prompt, source.samples, sampling, logprobs=False), None)
    for number, form in enumerate(forms):
        samples = len(range(number, source.samples, len(forms)))
        prompt = ctx.solver_prompt(form.question)
        yield _Asked(Request(f"{key}/{number}", prompt, samples, sampling, logprobs=False), form)


def _read(
    ctx: InferenceContext, asked: Sequence[_Asked], source: VoteSource, samples: Sequence[Sample]
) -> list[Answers]:
    """The answers of each question in a row, those to another form of it mapped back."""
    forms = [one.form for one in asked for _ in range(one.request.n)]
    given = printed_answers(ctx, samples) if source.programs else answers_of(ctx, samples)
    answers = [form.restore(answer) if form else answer for form, answer in zip(forms, given, strict=True)]
    found = []
    for start in range(0, len(samples), source.samples):
        here = slice(start, start + source.samples)
        tokens = sum(len(sample.tokens) for sample in samples[here])
        cut_off = sum(sample.finish is FinishReason.LENGTH for sample in samples[here])
        found.append(Answers(tuple(answers[here]), tokens, cut_off))
    return found


def _pooled(of_all_sources: Sequence[Answers]) -> Answers:
    return Answers(
        tuple(answer for one in of_all_sources for answer in one.answers),
        sum(one.tokens for one in of_all_sources),
        sum(one.cut_off for one in of_all_sources),
    )
