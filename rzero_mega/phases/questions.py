"""Phase 2: the trained Challenger writes the questions of this iteration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rzero_mega import spmd
from rzero_mega.atomic import write_jsonl
from rzero_mega.coevolution.diversity import distinct_ngrams, unique_share
from rzero_mega.coevolution.plan import QuestionsInputs
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.config.steps import parts
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.responses import written_questions
from rzero_mega.rollout.protocol import Request, Sample
from rzero_mega.run import PhaseDirectory


def run(ctx: RunContext, phase: ActivePhase, inputs: QuestionsInputs) -> None:
    """Ask Q_i for N questions, each part kept once it is whole."""
    config, prompt = ctx.config.questions, ctx.challenger_prompt()
    challenger = ctx.engine("challenger", ctx.model(inputs.challenger))
    planned = parts(config.count, config.per_part)
    finished = spmd.on_rank_0(phase.directory.checked_parts, len(planned))
    left = [part for part in range(len(planned)) if part not in finished]
    asked = [
        [Request(phase.seed_key(part), prompt, len(planned[part]), config.sampling, logprobs=False)] for part in left
    ]
    written = len(finished)
    if written:
        phase.bar.advance(written)

    def take(number: int, samples: Sequence[Sample]) -> bool:
        nonlocal written
        questions = written_questions(ctx, samples, config.require_boxed)
        phase.directory.write_part(left[number], [question for question in questions if question is not None])
        written += 1
        phase.bar.advance(written)
        return not ctx.stop.requested

    if asked:
        challenger.generate_units(asked, take)
        ctx.stop_if_asked()
    challenger.close()
    tokenizer = ctx.config.challenger.reward.repetition.tokenizer
    spmd.on_rank_0(_finish, phase.directory, len(planned), config.count, tokenizer)


def _finish(directory: PhaseDirectory, planned: int, asked: int, tokenizer: str) -> None:
    written = directory.read_parts(WrittenQuestion, range(planned))
    texts = [question.text for question in written]
    write_jsonl(directory.path / "questions.jsonl", (question.as_json() for question in written))
    summary = {
        "asked": asked,
        "well_formed": len(written),
        "unique_share": unique_share(texts),
        "distinct_2": distinct_ngrams(texts, 2, tokenizer),
    }
    directory.finish({"questions": Path("questions.jsonl")}, summary)
