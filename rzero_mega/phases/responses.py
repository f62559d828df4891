"""What responses say, as the domain reads them: the questions of the Challenger's, the answers of the Solver's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.evaluation.programs import Sandbox, written_program
from rzero_mega.phases.context import InferenceContext
from rzero_mega.rollout.protocol import Sample


def written_questions(
    ctx: InferenceContext, samples: Sequence[Sample], require_boxed: bool
) -> list[WrittenQuestion | None]:
    """The question of every response; None where the format is not kept."""
    texts = ctx.texts(samples)
    return [ctx.domain.read_question(text, s.finished, require_boxed) for text, s in zip(texts, samples, strict=True)]


def answers_of(ctx: InferenceContext, samples: Sequence[Sample]) -> list[str | None]:
    """The answer of every response; None where there is none, or the response was cut off."""
    return read_answers(ctx, zip(ctx.texts(samples), (s.finished for s in samples), strict=True))


def read_answers(ctx: InferenceContext, responses: Iterable[tuple[str, bool]]) -> list[str | None]:
    """As `answers_of`; a response is its text, and whether the model ended it itself."""
    read = ctx.domain.answers.read
    return [read(text) if finished else None for text, finished in responses]


def printed_answers(ctx: InferenceContext, samples: Sequence[Sample]) -> list[str | None]:
    """What the program of every response prints; None where there is none, it fails, or the response was cut off."""
    texts = ctx.texts(samples)
    programs = [written_program(text) if s.finished else None for text, s in zip(texts, samples, strict=True)]
    with Sandbox(ctx.config.grading.workers) as sandbox:
        return sandbox.answers(programs)
