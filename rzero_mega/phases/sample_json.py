"""Samples in the files of checkpoints."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rzero_mega.rollout.protocol import FinishReason, Sample, TokenSpan, logprob_array, token_array


def plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """What `asdict` makes of samples, and of what holds some, as JSON takes it."""
    # Most samples have no `earlier`: rollouts of one version are written as they always were.
    return {name: _as_json(value) for name, value in pairs if (name, value) != ("earlier", ())}


def read_sample(values: Mapping[str, Any]) -> Sample:
    """KeyError, TypeError, ValueError, AttributeError or OverflowError if it is malformed."""
    sample = Sample(**values)
    return replace(
        sample,
        prompt_tokens=tuple(sample.prompt_tokens),
        tokens=token_array(sample.tokens),
        logprobs=logprob_array(sample.logprobs),
        finish=FinishReason(sample.finish),
        earlier=tuple(TokenSpan(int(span["version"]), int(span["tokens"])) for span in values.get("earlier", ())),
    )


def _as_json(value: Any) -> Any:
    if isinstance(value, FinishReason):
        return value.value
    return value.tolist() if isinstance(value, array) else value
