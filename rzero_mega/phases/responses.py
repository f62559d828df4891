"""What responses say, as the domain reads them: the questions of the Challenger's, the answers of the Solver's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.evaluation.predictions import Response
from rzero_mega.evaluation.programs import Sandbox, written_program
from rzero_mega.phases.context import InferenceContext
from rzero_mega.rollout.protocol import Sample

T = TypeVar("T")


def written_questions(
    ctx: InferenceContext, samples: Sequence[Sample], require_boxed: bool
) -> list[WrittenQuestion | None]:
    """The question of every response; None where the format is not kept."""
    read = ctx.domain.read_question
    return [read(text, finished, require_boxed) for text, finished in texts_and_ends(ctx, samples)]


def answers_of(ctx: InferenceContext, samples: Sequence[Sample]) -> list[str | None]:
    """The answer of every response; None where there is none, or the response was cut off."""
    return read_answers(ctx, texts_and_ends(ctx, samples))


def read_answers(ctx: InferenceContext, responses: Iterable[tuple[str, bool]]) -> list[str | None]:
    """As `answers_of`; a response is its text, and whether the model ended it itself."""
    return read_finished(ctx.domain.answers.read, responses)


def read_finished(read: Callable[[str], T | None], responses: Iterable[tuple[str, bool]]) -> list[T | None]:
    """What is read of every response that the model ended itself; None of one that was cut off."""
    return [read(text) if finished else None for text, finished in responses]


def read_by_problem(read: Callable[[str], T | None], responses: Iterable[Response]) -> dict[int, list[T | None]]:
    """What is read of each problem's responses, as `read_finished`, in the order of their samples."""
    ordered = sorted(responses, key=lambda response: response.place)
    said = read_finished(read, ((response.text, response.finished) for response in ordered))
    found = defaultdict[int, list[T | None]](list)
    for response, one in zip(ordered, said, strict=True):
        found[response.problem].append(one)
    return found


def texts_and_ends(ctx: InferenceContext, samples: Sequence[Sample]) -> Iterator[tuple[str, bool]]:
    """Every sample's text, and whether the model ended it itself."""
    return zip(ctx.texts(samples), (sample.finished for sample in samples), strict=True)


def printed_answers(ctx: InferenceContext, samples: Sequence[Sample]) -> list[str | None]:
    """What the program of every response prints; None where there is none, it fails, or the response was cut off."""
    programs = read_finished(written_program, texts_and_ends(ctx, samples))
    with Sandbox(ctx.config.grading.workers) as sandbox:
        return sandbox.answers(programs)
