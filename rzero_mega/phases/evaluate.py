"""Phase 5: how well the Solver does on problems that no one trained on."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rzero_mega import spmd
from rzero_mega.atomic import write_jsonl
from rzero_mega.coevolution.plan import EvaluateInputs
from rzero_mega.coevolution.votes import majority_vote
from rzero_mega.evaluation.benchmarks import Benchmark
from rzero_mega.phases.context import ActivePhase, InferenceContext, RunContext
from rzero_mega.phases.drawing import draw_where_possible, fits
from rzero_mega.phases.responses import boxed_answers
from rzero_mega.rollout.protocol import Request, RolloutEngine, Sample
from rzero_mega.run import PhaseDirectory
from rzero_mega.tracking.progress import PhaseProgress

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProblemScore:
    """A row of scores.jsonl: a problem, and whether the Solver gets it right.

    `mean` is the share of right samples, `greedy` is the greedy answer's verdict, `vote` that of the samples' majority.
    """

    benchmark: str
    level: str
    question: str
    answer: str
    mean: float
    greedy: bool
    vote: bool


def run(ctx: RunContext, phase: ActivePhase, inputs: EvaluateInputs) -> None:
    """Score S_i on every benchmark."""
    scores = score_model(ctx, ctx.model(inputs.solver), phase.bar)
    spmd.on_rank_0(_finish, phase.directory, scores)


def score_model(ctx: InferenceContext, model: Path, bar: PhaseProgress) -> list[ProblemScore]:
    """Mean sampled, greedy and majority accuracy of a model on every problem of the configured benchmarks."""
    solver = ctx.engine("solver", model)
    scores: list[ProblemScore] = []
    for number, benchmark in enumerate(ctx.benchmarks):
        scores += _score(ctx, solver, benchmark)
        bar.advance(number + 1)
    solver.close()
    return scores


def summary(scores: Sequence[ProblemScore]) -> dict[str, Any]:
    """Accuracies by benchmark and by level of each, and their means over benchmarks, of which each counts alike."""
    benchmarks = _grouped(scores, lambda score: score.benchmark)
    accuracies = {name: _accuracy(some) for name, some in benchmarks.items()}
    # A level's name says nothing outside its benchmark.
    several = len(benchmarks) > 1
    levels = _grouped(scores, lambda score: f"{score.benchmark}: {score.level}" if several else score.level)
    return {
        "pass1_mean": fmean(accuracy["mean"] for accuracy in accuracies.values()),
        "pass1_greedy": fmean(accuracy["greedy"] for accuracy in accuracies.values()),
        "vote_accuracy": fmean(accuracy["vote"] for accuracy in accuracies.values()),
        "problems": len(scores),
        "by_benchmark": {name: {**accuracies[name], "problems": len(some)} for name, some in benchmarks.items()},
        "by_level": {level: _accuracy(some) for level, some in sorted(levels.items())},
    }


def _grouped(scores: Sequence[ProblemScore], key: Callable[[ProblemScore], str]) -> dict[str, list[ProblemScore]]:
    groups: dict[str, list[ProblemScore]] = defaultdict(list)
    for score in scores:
        groups[key(score)].append(score)
    return groups


def _accuracy(scores: Sequence[ProblemScore]) -> dict[str, float]:
    return {name: fmean(getattr(score, name) for score in scores) for name in ("mean", "greedy", "vote")}


def _score(ctx: InferenceContext, solver: RolloutEngine, benchmark: Benchmark) -> list[ProblemScore]:
    config = ctx.config.evaluation
    greedy_sampling = replace(config.sampling, temperature=0.0)
    prompts = [ctx.solver_prompt(problem.question) for problem in benchmark.problems]
    # The same streams for every iteration: two models are compared on the same draws.
    keys = [f"{ctx.config.seed}/evaluate/{benchmark.name}/{i}" for i in range(len(prompts))]
    requests = list(zip(keys, prompts, strict=True))
    sampling = [Request(key, prompt, config.samples, config.sampling) for key, prompt in requests]
    sampled = draw_where_possible(solver, sampling)
    greedy = draw_where_possible(solver, [Request(key, prompt, 1, greedy_sampling) for key, prompt in requests])
    unasked = sum(not fits(prompt, solver.context) for prompt in prompts)
    if unasked and spmd.rank() == 0:
        _log.warning(
            "%s: %d problems are too long for the context of %d tokens and count as not answered",
            benchmark.name,
            unasked,
            solver.context,
        )
    return spmd.on_rank_0(_grade, ctx, benchmark, sampled, greedy)


def _grade(
    ctx: InferenceContext, benchmark: Benchmark, sampled: Sequence[Sample], greedy: Sequence[Sample]
) -> list[ProblemScore]:
    n = ctx.config.evaluation.samples
    answers, greedy_answers = boxed_answers(ctx, sampled), boxed_answers(ctx, greedy)
    groups = [answers[start : start + n] for start in range(0, len(answers), n)]
    classes_per_problem = ctx.grader.equivalence_classes(groups)
    scores = []
    for problem, group, classes, greedy_answer in zip(
        benchmark.problems, groups, classes_per_problem, greedy_answers, strict=True
    ):
        given = [*group, greedy_answer, majority_vote(classes, group).answer]
        pairs = [(answer, problem.answer) for answer in given if answer is not None]
        verdicts = iter(ctx.grader.equivalent_pairs(pairs))
        *right, greedy_right, vote_right = [answer is not None and next(verdicts).equal for answer in given]
        scores.append(
            ProblemScore(
                benchmark.name, problem.level, problem.question, problem.answer, fmean(right), greedy_right, vote_right
            )
        )
    return scores


def _finish(directory: PhaseDirectory, scores: Sequence[ProblemScore]) -> None:
    write_jsonl(directory.path / "scores.jsonl", map(asdict, scores))
    directory.finish({"scores": Path("scores.jsonl")}, summary(scores))
