"""Drawing samples for prompts of which some may be too long: a question's length is the Challenger's choice."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.rollout.protocol import FinishReason, Request, RolloutEngine, Sample


def fits(prompt: Sequence[int], context: int) -> bool:
    """Whether a context of so many tokens takes the prompt and one token more."""
    return len(prompt) < context


def draw_where_possible(engine: RolloutEngine, requests: Sequence[Request]) -> list[Sample]:
    """As `engine.generate`. Samples of a prompt that leaves no room in the context have no token, and are cut off."""
    possible = [request for request in requests if fits(request.prompt_tokens, engine.context)]
    drawn = iter(engine.generate(possible)) if possible else iter(())
    samples: list[Sample] = []
    for request in requests:
        if fits(request.prompt_tokens, engine.context):
            samples += [next(drawn) for _ in range(request.n)]
        else:
            indices = range(request.first_index, request.first_index + request.n)
            samples += [_nothing(request, index) for index in indices]
    return samples


def _nothing(request: Request, index: int) -> Sample:
    return Sample(request.key, index, request.prompt_tokens, (), (), FinishReason.LENGTH, weight_version=0)
