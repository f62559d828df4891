"""What responses say: the questions of the Challenger's, the boxed answers of the Solver's."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.coevolution.questions import parse_question
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.evaluation.programs import Sandbox, written_program
from rzero_mega.grading import extract_answer
from rzero_mega.phases.context import InferenceContext
from rzero_mega.rollout.protocol import Sample


def written_questions(
    ctx: InferenceContext, samples: Sequence[Sample], require_boxed: bool
) -> list[WrittenQuestion | None]:
    """The question of every response; None where the format is not kept."""
    texts = ctx.texts(samples)
    return [parse_question(text, s.finished, require_boxed) for text, s in zip(texts, samples, strict=True)]


def boxed_answers(ctx: InferenceContext, samples: Sequence[Sample]) -> list[str | None]:
    """The boxed answer of every response; None where there is none, or the response was cut off."""
    texts = ctx.texts(samples)
    return [extract_answer(text) if s.finished else None for text, s in zip(texts, samples, strict=True)]


def printed_answers(ctx: InferenceContext, samples: Sequence[Sample]) -> list[str | None]:
    """What the program of every response prints; None where there is none, it fails, or the response was cut off."""
    texts = ctx.texts(samples)
    programs = [written_program(text) if s.finished else None for text, s in zip(texts, samples, strict=True)]
    with Sandbox(ctx.config.grading.workers) as sandbox:
        return sandbox.answers(programs)
