"""Samples that were stopped and go on: what is left of them to draw, and both parts as one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rzero_mega.rollout.protocol import FinishReason, Request, Sample, TokenSpan


def usable(samples: Iterable[Sample], request: Request, context: int) -> tuple[Sample, ...]:
    """Those of earlier samples of a request that can be trained on, or gone on with, under its present limits."""
    limit, last = request.sampling.max_new_tokens, request.first_index + request.n
    room = context - len(request.prompt_tokens)

    def is_usable(sample: Sample) -> bool:
        tokens = len(sample.tokens)
        fits = 0 < tokens < min(limit, room) if sample.finish is FinishReason.ABORT else tokens <= limit
        return fits and request.first_index <= sample.index < last

    return tuple(filter(is_usable, samples))


def left_to_draw(request: Request, begun: Sequence[Sample]) -> list[Request]:
    """What is to be drawn of a request of which these samples are there, whole or stopped."""
    if not begun:
        return [request]
    by_index, found = {sample.index: sample for sample in begun}, list[Request]()
    for index in range(request.first_index, request.first_index + request.n):
        sample = by_index.get(index)
        if sample is None:
            found.append(replace(request, n=1, first_index=index))
        elif sample.finish is FinishReason.ABORT:
            tokens = (*request.prompt_tokens, *sample.tokens)
            left = request.sampling.max_new_tokens - len(sample.tokens)
            sampling = replace(request.sampling, max_new_tokens=left)
            found.append(replace(request, prompt_tokens=tokens, n=1, first_index=index, sampling=sampling))
    return found


def continued(request: Request, begun: Sequence[Sample], drawn: Iterable[Sample]) -> list[Sample]:
    """The samples of a request by index, after what was `left_to_draw` of it was drawn, wholly or in part."""
    found = {sample.index: sample for sample in begun}
    for sample in drawn:
        before = found.get(sample.index)
        found[sample.index] = sample if before is None else joined(before, sample)
    return [found[index] for index in sorted(found)]


def joined(begun: Sample, rest: Sample) -> Sample:
    """A sample that was stopped, and what was drawn when it went on, with the tokens before it for its prompt."""
    if not rest.tokens and rest.finish is FinishReason.ABORT:
        return begun
    earlier = begun.earlier
    if rest.weight_version != begun.weight_version:
        own = len(begun.tokens) - sum(span.tokens for span in earlier)
        earlier = (*earlier, TokenSpan(begun.weight_version, own))
    return replace(
        rest,
        prompt_tokens=begun.prompt_tokens,
        tokens=begun.tokens + rest.tokens,
        logprobs=begun.logprobs + rest.logprobs,
        earlier=earlier,
    )
