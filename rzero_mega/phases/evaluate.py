"""Phase 5: how well the Solver does on problems that no one trained on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rzero_mega import spmd
from rzero_mega.atomic import write_jsonl
from rzero_mega.coevolution.plan import PhasePlan
from rzero_mega.coevolution.votes import majority_vote
from rzero_mega.evaluation.benchmarks import Benchmark
from rzero_mega.phases.context import RunContext, Workbench
from rzero_mega.phases.voting import boxed_answers
from rzero_mega.rollout.protocol import Request, RolloutEngine, Sample
from rzero_mega.run import PhaseDirectory
from rzero_mega.tracking.progress import PhaseProgress


def run(ctx: RunContext, plan: PhasePlan, bar: PhaseProgress) -> None:
    """Score S_i on every benchmark."""
    assert plan.solver is not None
    rows = score_model(ctx, ctx.path(plan.solver), bar)
    spmd.on_rank_0(_finish, ctx.phase(plan), rows)


def _finish(phase: PhaseDirectory, rows: list[dict[str, Any]]) -> None:
    write_jsonl(phase.path / "scores.jsonl", rows)
    phase.finish({"scores": Path("scores.jsonl")}, summary(rows))


def score_model(bench: Workbench, model: Path, bar: PhaseProgress) -> list[dict[str, Any]]:
    """Mean sampled, greedy and majority accuracy of a model on every problem of the configured benchmarks."""
    engine = bench.engine("solver", model)
    rows: list[dict[str, Any]] = []
    for number, benchmark in enumerate(bench.benchmarks):
        rows += _evaluate(bench, engine, benchmark)
        bar.advance(number + 1)
    engine.close()
    return rows


def _evaluate(bench: Workbench, solver: RolloutEngine, benchmark: Benchmark) -> list[dict[str, Any]]:
    config = bench.config.evaluation
    greedy_sampling = replace(config.sampling, temperature=0.0)
    prompts = [bench.encoder.encode_prompt(bench.solver_prompt, question=p.question) for p in benchmark.problems]
    # The same streams for every iteration: two models are compared on the same draws.
    keys = [f"{bench.config.seed}/evaluate/{benchmark.name}/{i}" for i in range(len(prompts))]
    requests = list(zip(keys, prompts, strict=True))
    sampled = solver.generate([Request(key, prompt, config.samples, config.sampling) for key, prompt in requests])
    greedy = solver.generate([Request(key, prompt, 1, greedy_sampling) for key, prompt in requests])
    return spmd.on_rank_0(_grade, bench, benchmark, sampled, greedy)


def _grade(bench: Workbench, benchmark: Benchmark, sampled: list[Sample], greedy: list[Sample]) -> list[dict[str, Any]]:
    assert bench.pool is not None
    n = bench.config.evaluation.samples
    answers, greedy_answers = boxed_answers(bench, sampled), boxed_answers(bench, greedy)
    groups = [answers[start : start + n] for start in range(0, len(answers), n)]
    classes = bench.pool.equivalence_classes(groups)
    rows = []
    for problem, group, kinds, greedy_answer in zip(benchmark.problems, groups, classes, greedy_answers, strict=True):
        vote = majority_vote(kinds, group).answer
        given = [*group, greedy_answer, vote]
        pairs = [(answer, problem.answer) for answer in given if answer is not None]
        verdicts = iter(bench.pool.equivalent_pairs(pairs))
        right = [answer is not None and next(verdicts).equal for answer in given]
        rows.append(
            {
                "benchmark": benchmark.name,
                "level": problem.level,
                "question": problem.question,
                "answer": problem.answer,
                "mean": fmean(right[:n]),
                "greedy": right[n],
                "vote": right[n + 1],
            }
        )
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over all problems and by level."""
    levels: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        levels[str(row["level"])].append(row)
    return {
        "pass1_mean": fmean(row["mean"] for row in rows),
        "pass1_greedy": fmean(row["greedy"] for row in rows),
        "vote_accuracy": fmean(row["vote"] for row in rows),
        "problems": len(rows),
        "by_level": {
            level: {name: fmean(row[name] for row in some) for name in ("mean", "greedy", "vote")}
            for level, some in sorted(levels.items())
        },
    }
