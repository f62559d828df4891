"""Drawing samples for prompts of which some may be too long: a question's length is the Challenger's choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rzero_mega import spmd
from rzero_mega.coevolution.records import Answers
from rzero_mega.rollout.protocol import (
    AbortingEngine,
    Arrived,
    Decided,
    FinishReason,
    Request,
    RolloutEngine,
    Sample,
    sample_of_nothing,
)


@dataclass(frozen=True)
class QuestionsAsked:
    """What a model is asked about some questions; `read` makes a record for each question of its samples.

    `read` is called on rank 0 alone.
    """

    requests: Sequence[Request]
    read: Callable[[Sequence[Sample]], Sequence[Answers]]


def fits(prompt: Sequence[int], context: int) -> bool:
    """Whether a context of so many tokens takes the prompt and one token more."""
    return len(prompt) < context


def draw_where_possible(engine: RolloutEngine, requests: Sequence[Request]) -> list[Sample]:
    """All samples, request-major, then by index, on rank 0; nothing on the others, to which none is sent.

    Samples of a prompt that leaves no room in the context have no token, and are cut off.
    """
    found: list[Sample] = []

    def take(_unit: int, whole: list[Sample]) -> bool:
        found.extend(whole)
        return True

    draw_units_where_possible(engine, [requests], take)
    return found


def draw_units_where_possible(
    engine: RolloutEngine, units: Sequence[Sequence[Request]], arrived: Arrived, decided: Decided | None = None
) -> None:
    """As `engine.generate_units`, with such samples of the prompts that leave no room in the context.

    What is `decided` is aborted where the engine can do that (`generate_needed`), and drawn to its end elsewhere.
    """
    context = engine.context
    possible = [[request for request in unit if fits(request.prompt_tokens, context)] for unit in units]
    asked = [number for number, unit in enumerate(possible) if unit]
    for number, unit in enumerate(possible):
        if not unit and not spmd.on_rank_0(arrived, number, with_nothing(units[number], [], context)):
            return

    def take(place: int, samples: list[Sample]) -> bool:
        number = asked[place]
        return arrived(number, with_nothing(units[number], samples, context))

    if asked and decided is not None and isinstance(engine, AbortingEngine):
        engine.generate_needed([possible[number] for number in asked], take, decided)
    elif asked:
        engine.generate_units([possible[number] for number in asked], take)


def with_nothing(requests: Sequence[Request], drawn: Sequence[Sample], context: int) -> list[Sample]:
    """All samples of all requests: those `drawn`, in order, and samples without a token of prompts that don't fit."""
    left = iter(drawn)
    samples: list[Sample] = []
    for request in requests:
        if fits(request.prompt_tokens, context):
            samples += [next(left) for _ in range(request.n)]
        else:
            indices = range(request.first_index, request.first_index + request.n)
            samples += [sample_of_nothing(request, index, FinishReason.LENGTH, weight_version=0) for index in indices]
    return samples
