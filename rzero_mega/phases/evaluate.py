"""Phase 5: how well the Solver does on problems that no one trained on, and what its answers tell of its labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rzero_mega import spmd
from rzero_mega.coevolution.plan import EvaluateInputs
from rzero_mega.coevolution.records import LabelledQuestion
from rzero_mega.evaluation.asking import asking
from rzero_mega.evaluation.endpoint.key import check_key
from rzero_mega.evaluation.judge import SECTION, second_look_of
from rzero_mega.evaluation.predictions import Response
from rzero_mega.evaluation.scores import PREDICTIONS, SCORES, evaluation_of
from rzero_mega.phases.asking_queue import Ask, asks_of, responses_to
from rzero_mega.phases.context import ActivePhase, InferenceContext, RunContext
from rzero_mega.phases.gauges import divided, gauge_asks, gauge_questions, read_gauges
from rzero_mega.phases.guard import guard_decision, tell
from rzero_mega.run.journal import Journal
from rzero_mega.tracking.gauges import DECISION
from rzero_mega.tracking.progress import PhaseProgress


def run(ctx: RunContext, phase: ActivePhase, inputs: EvaluateInputs) -> None:
    """Score S_i on every benchmark, read its gauges, and have the guard decide how the run goes on."""
    journal = phase.directory.journal() if spmd.rank() == 0 else None
    # Before the Solver is asked, not after.
    spmd.on_rank_0(check_key, ctx.config.evaluation.judge.endpoint, SECTION)
    questions = gauge_questions(ctx, phase.directory.iteration)
    asks = gauge_asks(ctx, questions)
    responses = ask_model(ctx, ctx.model(inputs.solver), journal, phase.bar, lambda: ctx.stop.requested, asks)
    # With all answers there only the grading is left, which a job that is asked to stop at once gets done too.
    if not spmd.on_rank_0(_has_all, ctx, responses, len(asks)):
        ctx.stop_if_asked()
    spmd.on_rank_0(_finish, ctx, phase, responses, questions)


def ask_model(
    ctx: InferenceContext,
    model: Path,
    journal: Journal | None,
    bar: PhaseProgress,
    asked_to_stop: Callable[[], bool] = lambda: False,
    then: Sequence[Ask] = (),
) -> list[Response]:
    """What a model says to every problem of the configured benchmarks: on rank 0, which has the journal.

    `then` is asked besides.
    """
    solver = ctx.engine("solver", model)
    responses = responses_to(ctx, solver, asks_of(ctx, solver.context), journal, bar, asked_to_stop, then)
    solver.close()
    return responses


def _has_all(ctx: RunContext, responses: Sequence[Response], besides: int) -> bool:
    wanted = (asking(some, ctx.config.evaluation).answers * len(some.problems) for some in ctx.benchmarks)
    return len(responses) == sum(wanted) + besides


def _finish(
    ctx: RunContext, phase: ActivePhase, responses: Sequence[Response], questions: Sequence[LabelledQuestion]
) -> None:
    folder = phase.directory.path
    look = second_look_of(ctx.config, folder) if ctx.benchmarks else None
    answers, others = divided(responses)
    found = evaluation_of(ctx.benchmarks, others, ctx.domain, ctx.grader, look)
    summary = {**found.summary, **read_gauges(ctx, questions, answers)}
    decision = guard_decision(ctx, phase.directory.iteration, summary)
    if decision is not None:
        summary[DECISION] = decision.as_json()
    outputs = {"scores": SCORES, "predictions": PREDICTIONS} if ctx.benchmarks else {}
    if outputs:
        found.write(folder)
    phase.directory.finish(outputs, summary)
    tell(phase.directory.iteration, decision)
