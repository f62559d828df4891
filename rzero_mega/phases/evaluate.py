"""Phase 5: how well the Solver does on problems that no one trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from rzero_mega import spmd
from rzero_mega.atomic import write_jsonl
from rzero_mega.coevolution.plan import EvaluateInputs
from rzero_mega.evaluation.asking import asking
from rzero_mega.evaluation.benchmarks import Benchmark
from rzero_mega.evaluation.problem_score import ProblemScore
from rzero_mega.evaluation.readings import READINGS
from rzero_mega.evaluation.scores import Response, judge, problem_scores, summary
from rzero_mega.phases.context import ActivePhase, InferenceContext, RunContext
from rzero_mega.phases.drawing import draw_where_possible, fits
from rzero_mega.rollout.protocol import Request, RolloutEngine, Sample
from rzero_mega.run import PhaseDirectory
from rzero_mega.tracking.progress import PhaseProgress

_log = logging.getLogger(__name__)


def run(ctx: RunContext, phase: ActivePhase, inputs: EvaluateInputs) -> None:
    """Score S_i on every benchmark."""
    scores = score_model(ctx, ctx.model(inputs.solver), phase.bar)
    groups = {benchmark.name: benchmark.group for benchmark in ctx.benchmarks}
    spmd.on_rank_0(_finish, phase.directory, scores, groups)


def score_model(ctx: InferenceContext, model: Path, bar: PhaseProgress) -> list[ProblemScore]:
    """The scores of a model on every problem of the configured benchmarks."""
    solver = ctx.engine("solver", model)
    scores: list[ProblemScore] = []
    for number, benchmark in enumerate(ctx.benchmarks):
        scores += _score(ctx, solver, benchmark)
        bar.advance(number + 1)
    solver.close()
    return scores


def _score(ctx: InferenceContext, solver: RolloutEngine, benchmark: Benchmark) -> list[ProblemScore]:
    how, reading = asking(benchmark, ctx.config.evaluation), READINGS[benchmark.reading]
    prompts = [ctx.solver_prompt(reading.prompt(problem)) for problem in benchmark.problems]
    _warn(benchmark, prompts, how.sampling.max_new_tokens, solver.context)
    # The same streams for every iteration: two models are compared on the same draws.
    requests = [(f"{ctx.config.seed}/evaluate/{benchmark.name}/{i}", prompt) for i, prompt in enumerate(prompts)]
    sampled: list[Sample] = []
    greedy: list[Sample] = []
    if how.samples:
        sampled = draw_where_possible(solver, [Request(key, p, how.samples, how.sampling) for key, p in requests])
    if how.greedy:
        greedy = draw_where_possible(solver, [Request(key, p, 1, how.greedy_sampling) for key, p in requests])
    return spmd.on_rank_0(_grade, ctx, benchmark, how.samples, sampled, greedy)


def _warn(benchmark: Benchmark, prompts: Sequence[Sequence[int]], limit: int, context: int) -> None:
    if spmd.rank() != 0:
        return
    unasked = sum(not fits(prompt, context) for prompt in prompts)
    if unasked:
        _log.warning(
            "%s: %d problems are too long for the context of %d tokens and count as not answered",
            benchmark.name,
            unasked,
            context,
        )
    if limit > context:
        _log.warning(
            "%s: answers of up to %d tokens are asked for, and the context of %d cuts them short",
            benchmark.name,
            limit,
            context,
        )


def _grade(
    ctx: InferenceContext, benchmark: Benchmark, samples: int, sampled: Sequence[Sample], greedy: Sequence[Sample]
) -> list[ProblemScore]:
    numbers: list[tuple[int, int | None]] = [divmod(i, samples) for i in range(len(sampled))]
    numbers += [(i, None) for i in range(len(greedy))]
    drawn = [*sampled, *greedy]
    responses = [
        Response(problem, index, text, sample.finished)
        for (problem, index), text, sample in zip(numbers, ctx.texts(drawn), drawn, strict=True)
    ]
    return problem_scores(benchmark, responses, judge(benchmark, responses, ctx.grader), ctx.grader)


def _finish(directory: PhaseDirectory, scores: Sequence[ProblemScore], groups: dict[str, str]) -> None:
    write_jsonl(directory.path / "scores.jsonl", (score.as_json() for score in scores))
    directory.finish({"scores": Path("scores.jsonl")}, summary(scores, groups))
