"""Phase 3: the frozen Solver's majority becomes the label; questions outside the band are dropped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rzero_mega import spmd
from rzero_mega.atomic import read_jsonl, write_jsonl
from rzero_mega.coevolution.checks.shares import exploit_shares
from rzero_mega.coevolution.curation import Curation, LabelledQuestion, curate
from rzero_mega.coevolution.near_duplicates import find_copies
from rzero_mega.coevolution.plan import PhasePlan
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config.schema import VotesConfig
from rzero_mega.evaluation.audit import true_answer
from rzero_mega.grading import GradingPool
from rzero_mega.phases.context import RunContext
from rzero_mega.phases.voting import poll
from rzero_mega.tracking.progress import PhaseProgress


def run(ctx: RunContext, plan: PhasePlan, bar: PhaseProgress) -> None:
    """Label the questions of Q_i by S_{i-1}, part by part, then keep those in the band."""
    config, phase = ctx.config.labels, ctx.phase(plan)
    assert plan.solver is not None and plan.data is not None
    rows = list(read_jsonl(ctx.path(plan.data)))
    solver = ctx.engine("solver", ctx.path(plan.solver))
    finished_parts = spmd.on_rank_0(phase.finished_parts)
    for part, start in enumerate(range(0, len(rows), config.questions_per_part)):
        if part not in finished_parts:
            asked = rows[start : start + config.questions_per_part]
            texts = [row["question"] for row in asked]
            polls = poll(ctx, solver, texts, config.votes, ctx.seed_key(plan, part))
            labelled = [
                {
                    **row,
                    "answer": result.vote.answer,
                    "share": result.vote.share,
                    "count": result.vote.count,
                    "samples": result.vote.samples,
                    "answered": result.vote.answered,
                    "answers": list(result.answers),
                    "tally": [list(pair) for pair in result.vote.tally],
                    "cut_off": result.vote.cut_off,
                    "tokens": result.tokens,
                }
                for row, result in zip(asked, polls, strict=True)
            ]
            spmd.on_rank_0(phase.write_part, part, labelled)
            ctx.may_stop()
        bar.advance(part + 1)
    solver.close()
    spmd.on_rank_0(_finish, ctx, plan)


def _finish(ctx: RunContext, plan: PhasePlan) -> None:
    phase = ctx.phase(plan)
    rows = phase.read_parts()
    labelled = [LabelledQuestion(row["question"], _vote(row), row["own_answer"]) for row in rows]
    earlier = [row["question"] for source in plan.earlier for row in read_jsonl(ctx.path(source))]
    config = ctx.config.labels.curation
    near, tokenizer = config.near_duplicates, ctx.config.challenger.reward.repetition.tokenizer
    copies = find_copies([item.question for item in labelled], earlier, near.threshold, near.shingle, tokenizer)
    held_out = {" ".join(problem.question.split()) for bench in ctx.benchmarks for problem in bench.problems}
    checks = ctx.config.checks
    curation = curate(labelled, config, lambda text: " ".join(text.split()) in held_out, checks, copies)
    exploits = exploit_shares([item.asked for item in labelled], copies, checks, earlier)
    assert ctx.pool is not None
    # The truth is only looked at here, for the figures of the report; nothing that is trained on depends on it.
    audited = [_audited(row, reason, ctx.pool) for row, reason in zip(rows, curation.reasons, strict=True)]
    dataset = [{"question": item.question, "answer": item.vote.answer} for item in curation.kept]
    write_jsonl(phase.path / "labelled.jsonl", audited)
    write_jsonl(phase.path / "dataset.jsonl", dataset)
    outputs = {"dataset": Path("dataset.jsonl"), "labelled": Path("labelled.jsonl")}
    summary = _summary(audited, curation, ctx.config.labels.votes, ctx.pool.stats.timeouts)
    phase.finish(outputs, {**summary, "hacking": exploits})


def _vote(row: dict[str, Any]) -> Vote:
    tally = tuple((str(answer), int(count)) for answer, count in row["tally"])
    return Vote(row["answer"], row["count"], row["samples"], row["answered"], tally, row["cut_off"])


def _audited(row: dict[str, Any], reason: str | None, pool: GradingPool) -> dict[str, Any]:
    truth = true_answer(row["question"])
    correct = None
    if truth is not None and row["answer"] is not None:
        correct = pool.equivalent_pairs([(row["answer"], truth)])[0].equal
    return {**row, "kept": reason is None, "dropped": reason, "truth": truth, "correct": correct}


def _summary(rows: Sequence[dict[str, Any]], curation: Curation, votes: VotesConfig, timeouts: int) -> dict[str, Any]:
    shares = [row["share"] for row in rows]
    m = votes.samples
    counts = [0] * (m + 1)
    for row in rows:
        counts[row["count"]] += 1
    kept = [row["correct"] for row in rows if row["kept"] and row["correct"] is not None]
    every = [row["correct"] for row in rows if row["correct"] is not None]
    return {
        "labelled": len(rows),
        "kept": len(curation.kept),
        "dropped": dict(curation.dropped),
        "p_hat_mean": fmean(shares),
        "difficulty": 1.0 - fmean(shares),
        # One bar for every value that a share of m votes can take, centred on it.
        "p_hat_histogram": {"edges": [(k - 0.5) / m for k in range(m + 2)], "counts": counts},
        "label_accuracy": fmean(kept) if kept else None,
        "label_accuracy_all": fmean(every) if every else None,
        "audited": len(kept),
        "answer_length": fmean(row["tokens"] / row["samples"] for row in rows),
        "timeouts": timeouts,
    }
