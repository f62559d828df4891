"""Drawing samples for prompts of which some may be too long: a question's length is the Challenger's choice."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega import spmd
from rzero_mega.rollout.protocol import FinishReason, Request, RolloutEngine, Sample, logprob_array, token_array


def fits(prompt: Sequence[int], context: int) -> bool:
    """Whether a context of so many tokens takes the prompt and one token more."""
    return len(prompt) < context


def draw_where_possible(engine: RolloutEngine, requests: Sequence[Request]) -> list[Sample]:
    """All samples, request-major, then by index, on rank 0; nothing on the others, to which none is sent.

    Samples of a prompt that leaves no room in the context have no token, and are cut off.
    """
    possible = [request for request in requests if fits(request.prompt_tokens, engine.context)]
    found: list[Sample] = []

    def take(_unit: int, whole: list[Sample]) -> bool:
        found.extend(whole)
        return True

    if possible:
        engine.generate_units([possible], take)
    if spmd.rank() != 0:
        return []
    drawn = iter(found)
    samples: list[Sample] = []
    for request in requests:
        if fits(request.prompt_tokens, engine.context):
            samples += [next(drawn) for _ in range(request.n)]
        else:
            indices = range(request.first_index, request.first_index + request.n)
            samples += [_nothing(request, index) for index in indices]
    return samples


def _nothing(request: Request, index: int) -> Sample:
    nothing = token_array(), logprob_array()
    return Sample(request.key, index, request.prompt_tokens, *nothing, FinishReason.LENGTH, weight_version=0)
