"""Answers that are drawn for a Critic's pairs, besides those that labels have: the base's, and ones out of parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rzero_mega.coevolution.plan import CriticInputs, Source
from rzero_mega.domains.domain import Decomposition, ScoredAnswers
from rzero_mega.phases.asking_queue import Ask, responses_kept_by
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.responses import read_answers
from rzero_mega.rollout.protocol import Request

RIVAL, PARTS = "critic/rival", "critic/parts"
"""Stand in the journal where benchmarks have their names, of which none has a slash; name the random streams too."""

Answered = dict[str, tuple[str | None, ...]]
"""The answers to questions, each of which is there once."""


@dataclass(frozen=True)
class Drawn:
    """The rival's answers to the questions, and those put together from the Solver's answers to their parts."""

    rivals: Answered
    recombined: Answered


def draw_for_pairs(
    ctx: RunContext, phase: ActivePhase, inputs: CriticInputs, domain: ScoredAnswers, questions: Sequence[str]
) -> Drawn:
    """Both, on rank 0, as far as there are models to ask; nothing on the others. For all ranks."""
    critic, rivals, recombined = ctx.config.critic, Answered(), Answered()
    if inputs.rival is not None:
        rivals = _answers(ctx, phase, RIVAL, inputs.rival, questions, critic.rival_answers)
    if inputs.solver is not None and domain.decomposition is not None:
        parts = [part for question in questions for part in domain.decomposition.parts(question)]
        found = _answers(ctx, phase, PARTS, inputs.solver, list(dict.fromkeys(parts)), critic.recombined_answers)
        recombined = _recombined(domain.decomposition, questions, found)
    return Drawn(rivals, recombined)


def _recombined(how: Decomposition, questions: Sequence[str], of_parts: Answered) -> Answered:
    """Sample by sample, of the questions whose parts are answered; None where a part has no answer."""
    found = Answered()
    for question in questions:
        parts = [of_parts[part] for part in how.parts(question) if part in of_parts]
        if parts:
            found[question] = tuple(_put_together(how, answers) for answers in zip(*parts, strict=True))
    return found


def _put_together(how: Decomposition, answers: Sequence[str | None]) -> str | None:
    given = [answer for answer in answers if answer is not None]
    return how.recombine(given) if len(given) == len(answers) else None


def _answers(
    ctx: RunContext, phase: ActivePhase, name: str, model: Source, questions: Sequence[str], samples: int
) -> Answered:
    """So many answers of the model to each of the questions, by the Solver's servers, on rank 0."""
    if not questions:
        return {}
    sampling, key = ctx.config.labels.votes.sampling, phase.seed_key(name)
    asks = [
        Ask(name, place, sample, Request(f"{key}/{place}", ctx.solver_prompt(question), 1, sampling, sample, False))
        for place, question in enumerate(questions)
        for sample in range(samples)
    ]
    engine = ctx.engine("solver", ctx.model(model))
    engine.prepare()
    responses = responses_kept_by(ctx, phase, engine, asks)
    ordered = sorted(responses, key=lambda one: one.place)
    answers = read_answers(ctx, ((one.text, one.finished) for one in ordered))
    found: dict[str, list[str | None]] = {}
    for one, answer in zip(ordered, answers, strict=True):
        found.setdefault(questions[one.problem], []).append(answer)
    return {question: tuple(given) for question, given in found.items()}
