"""What the benchmark of the client has drawn is what it says."""

from __future__ import annotations

from statistics import median

import pytest

from rzero_mega.rollout.protocol import draws_of
from tools.client_benchmarks.throughput import LIMIT, MEDIAN, Load


def test_responses_are_as_long_as_real_ones_times_the_scale_and_some_run_to_the_limit() -> None:
    load = Load(servers=2, slots=32, draws=4000, cut_off=0.03, scale=0.125)
    lengths = load.lengths()
    assert load.limit == max(lengths) == LIMIT / 8
    assert sum(length == load.limit for length in lengths) / len(lengths) == pytest.approx(0.03, abs=0.01)
    assert median(lengths) == pytest.approx(MEDIAN / 8, rel=0.05)
    assert lengths == load.lengths()


def test_nobody_is_told_before_how_long_a_response_becomes() -> None:
    load = Load(servers=2, slots=32, draws=100, cut_off=0.03, scale=0.125)
    draws = draws_of(load.requests())
    assert len(draws) == len(load.lengths())
    assert {draw.request.sampling.max_new_tokens for draw in draws} == {load.limit}
    assert len({draw.request.prompt_tokens for draw in draws}) == 10
