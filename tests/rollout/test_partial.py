"""Samples that were stopped and go on: what is asked for, and what the two parts are together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.rollout.partial import continued, joined, left_to_draw, usable
from rzero_mega.rollout.protocol import FinishReason, Request, Sample, TokenSpan, logprob_array, token_array

REQUEST = Request("new", (1, 2), 3, SamplingConfig(max_new_tokens=6), first_index=4)
STOP, ABORT, LENGTH = FinishReason.STOP, FinishReason.ABORT, FinishReason.LENGTH


def sample(index: int, tokens: tuple[int, ...], finish: FinishReason, version: int, key: str = "old") -> Sample:
    drawn = token_array(tokens), logprob_array(-0.1 * token for token in tokens)
    return Sample(key, index, (1, 2), *drawn, finish, version)


def test_a_request_that_nothing_is_there_of_is_asked_as_it_is() -> None:
    assert left_to_draw(REQUEST, ()) == [REQUEST]


def test_what_was_stopped_goes_on_after_its_tokens_within_the_same_limit() -> None:
    begun = [sample(4, (7, 8), STOP, 1), sample(6, (7, 8, 9), ABORT, 1)]
    fresh, rest = left_to_draw(REQUEST, begun)
    assert fresh == replace(REQUEST, n=1, first_index=5)
    assert (rest.prompt_tokens, rest.n, rest.first_index) == ((1, 2, 7, 8, 9), 1, 6)
    assert rest.sampling == SamplingConfig(max_new_tokens=3)


def test_tokens_log_probabilities_and_versions_of_both_parts_belong_together() -> None:
    first = sample(6, (7, 8), ABORT, 1)
    second = joined(first, replace(sample(6, (9,), ABORT, 3, "new"), prompt_tokens=(1, 2, 7, 8)))
    third = joined(second, replace(sample(6, (5, 2), STOP, 4, "newer"), prompt_tokens=(1, 2, 7, 8, 9)))
    assert (third.key, third.index, third.prompt_tokens, third.finish) == ("newer", 6, (1, 2), STOP)
    assert list(third.tokens) == [7, 8, 9, 5, 2]
    assert list(third.logprobs) == pytest.approx([-0.7, -0.8, -0.9, -0.5, -0.2])
    assert (third.earlier, third.weight_version) == ((TokenSpan(1, 2), TokenSpan(3, 1)), 4)
    assert third.oldest_version == 1
    assert [third.tokens_before(version) for version in (1, 2, 3, 4, 5)] == [0, 2, 2, 3, 5]


def test_parts_of_the_same_weights_are_of_one_version() -> None:
    whole = joined(sample(6, (7, 8), ABORT, 1), sample(6, (9,), STOP, 1))
    assert (whole.earlier, whole.weight_version, whole.oldest_version) == ((), 1, 1)


def test_a_part_that_has_no_token_leaves_the_sample_as_it_was() -> None:
    begun = sample(6, (7, 8), ABORT, 1)
    assert joined(begun, sample(6, (), ABORT, 2)) == begun


def test_whole_samples_stay_and_each_index_is_there_once() -> None:
    begun = [sample(4, (7,), STOP, 1), sample(6, (7, 8), ABORT, 1)]
    drawn = [sample(6, (9,), STOP, 2, "new"), sample(5, (3,), STOP, 2, "new")]
    found = continued(REQUEST, begun, drawn)
    assert [(s.index, list(s.tokens), s.oldest_version) for s in found] == [(4, [7], 1), (5, [3], 2), (6, [7, 8, 9], 1)]


@pytest.mark.parametrize(
    ("tokens", "finish", "index", "good"),
    [
        (3, ABORT, 4, True),
        (0, ABORT, 4, False),  # nothing to keep
        (6, ABORT, 4, False),  # the limit has come down to what it has
        (6, LENGTH, 4, True),
        (7, LENGTH, 4, False),
        (5, ABORT, 4, False),  # no room in the context
        (3, STOP, 7, False),  # fewer rollouts are wanted now
    ],
)
def test_what_does_not_fit_the_present_limits_is_drawn_anew(
    tokens: int, finish: FinishReason, index: int, good: bool
) -> None:
    there = sample(index, (7,) * tokens, finish, 1)
    assert usable([there], REQUEST, context=7) == ((there,) if good else ())
