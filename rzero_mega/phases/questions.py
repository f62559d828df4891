"""Phase 2: the trained Challenger writes the questions of this iteration."""

from __future__ import annotations

from pathlib import Path

from rzero_mega import spmd
from rzero_mega.atomic import write_jsonl
from rzero_mega.coevolution.diversity import distinct_ngrams, unique_share
from rzero_mega.coevolution.plan import PhasePlan
from rzero_mega.phases.challenger import read_questions
from rzero_mega.phases.context import RunContext
from rzero_mega.rollout.protocol import Request
from rzero_mega.run import PhaseDirectory
from rzero_mega.tracking.progress import PhaseProgress


def run(ctx: RunContext, plan: PhasePlan, bar: PhaseProgress) -> None:
    """Ask Q_i for N questions, part by part."""
    config, phase = ctx.config.questions, ctx.phase(plan)
    assert plan.challenger is not None
    prompt = ctx.encoder.encode_prompt(ctx.challenger_prompt)
    challenger = ctx.engine("challenger", ctx.path(plan.challenger))
    finished_parts = spmd.on_rank_0(phase.finished_parts)
    for part, start in enumerate(range(0, config.count, config.per_part)):
        if part not in finished_parts:
            count = min(config.per_part, config.count - start)
            samples = challenger.generate([Request(ctx.seed_key(plan, part), prompt, count, config.sampling)])
            questions = spmd.on_rank_0(read_questions, ctx, samples, config.require_boxed)
            rows = [
                {"question": question.text, "own_answer": question.own_answer}
                for question in questions
                if question is not None
            ]
            spmd.on_rank_0(phase.write_part, part, rows)
            ctx.may_stop()
        bar.advance(part + 1)
    challenger.close()
    tokenizer = ctx.config.challenger.reward.repetition.tokenizer
    spmd.on_rank_0(_finish, phase, config.count, tokenizer)


def _finish(phase: PhaseDirectory, asked: int, tokenizer: str) -> None:
    rows = phase.read_parts()
    texts = [row["question"] for row in rows]
    write_jsonl(phase.path / "questions.jsonl", rows)
    summary = {
        "asked": asked,
        "well_formed": len(rows),
        "unique_share": unique_share(texts),
        "distinct_2": distinct_ngrams(texts, 2, tokenizer),
    }
    phase.finish({"questions": Path("questions.jsonl")}, summary)
