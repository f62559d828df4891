"""The gauges' questions, asked with the benchmarks in the evaluate phase, and what is read from the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rzero_mega.coevolution.gauges import GaugeAnswers, Gauges, fixed_set, gauges_of, majority
from rzero_mega.coevolution.plan import Source, has_gauges
from rzero_mega.coevolution.records import LabelledQuestion
from rzero_mega.evaluation.predictions import Response
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases.asking_queue import Ask
from rzero_mega.phases.context import RunContext
from rzero_mega.phases.responses import read_answers
from rzero_mega.rollout.protocol import Request
from rzero_mega.tracking.gauges import BASE_GAUGES, GAUGES

NAME = "labels/gauges"
"""Stands in the journal where benchmarks have their names, of which none has a slash."""

_LABELLED = Source(1, PhaseName.LABELS, "labelled")


def gauge_questions(ctx: RunContext, iteration: int) -> list[LabelledQuestion]:
    """The fixed set with the base's votes; none where gauges are off, and for the base itself.

    The file is no input of the phase that would be hashed: S_i is, and was trained on it from S_0 on.
    """
    if iteration == 0 or not has_gauges(ctx.config):
        return []
    return fixed_set(ctx.records(_LABELLED, LabelledQuestion), ctx.config.labels.gauges.questions)


def gauge_asks(ctx: RunContext, questions: Sequence[LabelledQuestion]) -> list[Ask]:
    """A greedy answer and the votes to each question, from the same streams in every iteration."""
    labels = ctx.config.labels
    sampling, greedy = labels.votes.sampling, replace(labels.votes.sampling, temperature=0.0)
    asks = []
    for number, question in enumerate(questions):
        key, prompt = f"{ctx.config.seed}/gauges/{number}", ctx.solver_prompt(question.answered.question.text)
        for sample in range(labels.gauges.votes):
            asks.append(Ask(NAME, number, sample, Request(key, prompt, 1, sampling, sample, logprobs=False)))
        asks.append(Ask(NAME, number, None, Request(key, prompt, 1, greedy, logprobs=False)))
    return asks


def divided(responses: Sequence[Response]) -> tuple[list[Response], list[Response]]:
    """(those to the gauges' questions, by question and sample, the greedy one last; those to benchmarks)."""
    own = sorted((response for response in responses if response.benchmark == NAME), key=lambda found: found.place)
    return own, [response for response in responses if response.benchmark != NAME]


def read_gauges(
    ctx: RunContext, questions: Sequence[LabelledQuestion], responses: Sequence[Response]
) -> dict[str, Any]:
    """The gauges of the Solver and, of its votes in iteration 1, those of the base, for the phase's summary."""
    if not questions:
        return {}
    votes, curation = ctx.config.labels.gauges.votes, ctx.config.labels.curation
    answers = read_answers(ctx, ((response.text, response.finished) for response in responses))
    solver, base, lists = [], [], []
    for number, question in enumerate(questions):
        own = answers[number * (votes + 1) : (number + 1) * (votes + 1)]
        lists.append([*own, *question.answered.answers, question.truth])
    for classes in ctx.grader.equivalence_classes(lists):
        samples, greedy, truth = tuple(classes[:votes]), classes[votes], classes[-1]
        of_base = tuple(classes[votes + 1 : -1])
        label, _ = majority(of_base)
        solver.append(GaugeAnswers(samples, greedy, label, truth))
        # As many votes as the Solver has: with more of them entropy is greater.
        base.append(GaugeAnswers(of_base[:votes], None, label, truth))
    found: dict[str, Gauges] = {
        GAUGES: gauges_of(solver, curation),
        BASE_GAUGES: gauges_of(base, curation, greedy=False),
    }
    return {name: gauges.as_json() for name, gauges in found.items()}
