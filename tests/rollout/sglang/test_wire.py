"""Requests to SGLang and its answers: what is asked, and what is not believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import (
    Draw,
    FinishReason,
    Request,
    Sample,
    Scored,
    draws_of,
    logprob_array,
    token_array,
)
from rzero_mega.rollout.sglang.pool.wire import (
    MalformedAnswer,
    Version,
    generate_body,
    read_sample,
    read_score,
    score_body,
)

VERSION = Version(3, "solver-1-3")
REQUEST = Request("a", (5, 6, 7), 2, SamplingConfig(max_new_tokens=9), first_index=4)


TOKENS, LOGPROBS = token_array((8, 2)), logprob_array((-0.5, -1.5))
READ = replace(REQUEST, logprobs=False)


def answer(**meta: Any) -> dict[str, Any]:
    return {
        "output_ids": [8, 2],
        "meta_info": {
            "finish_reason": {"type": "stop", "matched": 2},
            "weight_version": "solver-1-3",
            "weight_versions": [{"version": "solver-1-3", "start": 0, "end": 2}],
            "output_token_logprobs": [[-0.5, 8, None], [-1.5, 2, None]],
            **meta,
        },
    }


def read(given: dict[str, Any]) -> Sample | None:
    return read_sample(Draw(0, REQUEST, 4), given, VERSION)


def test_every_sample_of_a_request_is_drawn_by_itself() -> None:
    draws = draws_of([REQUEST, Request("b", (1,), 1, SamplingConfig())])
    assert [(d.position, d.request.key, d.index) for d in draws] == [(0, "a", 4), (1, "a", 5), (2, "b", 0)]


def test_the_context_bounds_what_is_asked_for() -> None:
    body = generate_body(draws_of([REQUEST]), [2], context=10)
    assert body["input_ids"] == [[5, 6, 7]] * 2
    assert [parameters["max_new_tokens"] for parameters in body["sampling_params"]] == [7, 7]
    assert body["sampling_params"][0]["stop_token_ids"] == [2]


def test_no_top_k_is_minus_one_to_the_server() -> None:
    (draw,) = draws_of([Request("a", (1,), 1, SamplingConfig(top_k=0))])
    assert generate_body([draw], [], 10)["sampling_params"][0]["top_k"] == -1


def test_answers_come_one_by_one_and_nothing_between_a_sample_s_first_token_and_its_last() -> None:
    body = generate_body(draws_of([REQUEST, Request("b", (1,), 1, SamplingConfig(max_new_tokens=3))]), [2], context=10)
    assert body["stream"] is True
    assert [parameters["stream_interval"] for parameters in body["sampling_params"]] == [7, 7, 3]


def test_an_answer_becomes_a_sample() -> None:
    assert read(answer()) == Sample("a", 4, (5, 6, 7), TOKENS, LOGPROBS, FinishReason.STOP, 3)


def test_log_probabilities_are_asked_for_where_somebody_wants_them() -> None:
    body = generate_body(draws_of([replace(REQUEST, n=1), replace(READ, n=1)]), [2], context=10)
    assert body["return_logprob"] == [True, False]


def test_what_is_only_read_has_no_log_probabilities() -> None:
    said = answer()
    del said["meta_info"]["output_token_logprobs"]
    sample = read_sample(Draw(0, READ, 4), said, VERSION)
    assert sample == Sample("a", 4, (5, 6, 7), TOKENS, logprob_array(), FinishReason.STOP, 3)


def test_an_aborted_request_is_no_sample_though_the_server_answers_200() -> None:
    assert read(answer(finish_reason={"type": "abort", "message": "Aborted"})) is None


@pytest.mark.parametrize(
    "spans",
    [
        [{"version": "solver-1-2", "start": 0, "end": 2}],
        [{"version": "solver-1-2", "start": 0, "end": 1}, {"version": "solver-1-3", "start": 1, "end": 2}],
        [{"version": "updating-solver-1-3", "start": 0, "end": 2}],
        [{"version": "default", "start": 0, "end": 2}],
    ],
)
def test_a_sample_that_other_weights_had_a_part_in_is_refused_with_their_version(spans: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match=spans[0]["version"]):
        read(answer(weight_versions=spans))


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"output_ids": [1], "meta_info": None},
        answer(output_token_logprobs=[[-0.5, 8, None]]),
        answer(output_token_logprobs=[[-0.5, 9, None], [-1.5, 2, None]]),
        answer(output_token_logprobs=[["x", 8, None], [-1.5, 2, None]]),
        answer(finish_reason={"type": "vanished"}),
        {**answer(), "output_ids": [8, 2.5]},
        {**answer(), "output_ids": [8, 1 << 40]},
        answer(weight_versions="none"),
    ],
)
def test_an_answer_that_is_no_sample_is_named(broken: dict[str, Any]) -> None:
    with pytest.raises(MalformedAnswer, match="a"):
        read(broken)


def scored(*triples: list[Any]) -> dict[str, Any]:
    return answer(input_token_logprobs=[[None, 5, None], *triples])


def test_scores_are_those_of_the_response_alone() -> None:
    sequence = Scored((5, 6), (7, 8))
    assert score_body([sequence])["input_ids"] == [[5, 6, 7, 8]]
    given = scored([-1.0, 6, None], [-2.0, 7, None], [-3.0, 8, None])
    assert read_score(sequence, given, VERSION) == (-2.0, -3.0)


@pytest.mark.parametrize("triples", [[[-2.0, 9, None], [-3.0, 8, None]], [[-2.0, 7, None]]])
def test_scores_of_other_tokens_are_refused(triples: list[list[Any]]) -> None:
    with pytest.raises(MalformedAnswer, match="other tokens"):
        read_score(Scored((5, 6), (7, 8)), scored([-1.0, 6, None], *triples), VERSION)
