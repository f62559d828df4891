"""What waits for servers: in which order, for whom, and that none is lost or drawn twice."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.rollout.protocol import Draw, Request, draws_of
from rzero_mega.rollout.sglang.pool.draw_queue import DRAWS_PER_CALL, DrawQueue, Supply


def queue_of(*prompts: tuple[int, int]) -> DrawQueue:
    """(samples, their longest answer) of prompts 0, 1, ..."""
    requests = [Request(f"r{i}", (i,), n, SamplingConfig(max_new_tokens=m)) for i, (n, m) in enumerate(prompts)]
    return DrawQueue(draws_of(requests), lambda draw: draw.request.sampling.max_new_tokens)


def prompts_of(draws: list[Draw]) -> list[int]:
    return [draw.request.prompt_tokens[0] for draw in draws]


def test_those_that_may_become_longest_go_first_and_otherwise_the_order_stays() -> None:
    queue = queue_of((1, 8), (2, 64), (1, 8), (1, 64))
    assert prompts_of(queue.take(0, 9)) == [1, 1, 3, 0, 2]


def test_a_server_goes_on_with_the_prompt_that_it_has_begun() -> None:
    queue = queue_of((5, 8), (5, 8), (5, 8))
    assert prompts_of(queue.take(0, 2)) == [0, 0]
    assert prompts_of(queue.take(1, 2)) == [1, 1]
    assert prompts_of(queue.take(0, 4)) == [0, 0, 0, 2]
    assert prompts_of(queue.take(1, 3)) == [1, 1, 1]


def test_samples_that_are_asked_for_one_by_one_are_of_a_prompt_as_well() -> None:
    requests = [Request("a", (7,), 1, SamplingConfig(), index) for index in range(4)]
    requests.append(Request("b", (8,), 1, SamplingConfig()))
    queue = DrawQueue(draws_of(requests), lambda draw: draw.request.sampling.max_new_tokens)
    queue.take(0, 1)
    assert prompts_of(queue.take(1, 1)) == [8]


def test_once_no_prompt_is_left_to_begin_a_server_takes_of_the_one_that_most_is_left_of() -> None:
    queue = queue_of((9, 8), (4, 8))
    queue.take(0, 1)
    queue.take(1, 1)
    assert prompts_of(queue.take(2, 2)) == [0, 0]
    assert prompts_of(queue.take(1, 5)) == [1, 1, 1, 0, 0]


def test_draws_that_are_added_go_behind_those_that_may_become_as_long() -> None:
    queue = queue_of((1, 8), (1, 64))
    more = [Request(f"more{i}", (i,), 1, SamplingConfig(max_new_tokens=m)) for i, m in ((7, 64), (8, 8), (9, 32))]
    queue.add(draws_of(more))
    queue.add([])
    assert len(queue) == 5
    assert prompts_of(queue.take(0, 5)) == [1, 7, 9, 0, 8]


def test_what_comes_back_is_next() -> None:
    queue = queue_of((1, 8), (3, 8), (1, 8))
    lost = queue.take(0, 2)
    queue.put_back(lost)
    queue.put_back([])
    assert len(queue) == 5
    assert queue.take(1, 2) == lost


@given(
    st.lists(st.tuples(st.integers(1, 12), st.sampled_from([8, 64])), max_size=8),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 20), st.booleans()), max_size=30),
)
def test_none_is_lost_and_none_is_given_to_two(
    prompts: list[tuple[int, int]], steps: list[tuple[int, int, bool]]
) -> None:
    queue = queue_of(*prompts)
    everything = range(sum(n for n, _ in prompts))
    gone: Counter[int] = Counter()
    for server, count, comes_back in steps:
        waiting = len(queue)
        taken = queue.take(server, count)
        assert len(taken) == min(count, waiting)
        if comes_back:
            queue.put_back(taken)
        else:
            gone.update(draw.position for draw in taken)
        assert len(queue) == len(queue.all())
    left = [draw.position for draw in queue.all()]
    assert left == sorted(left)
    assert gone + Counter(left) == Counter(everything)


@pytest.mark.parametrize("slots", [1, 2, 16, 256, 1000])
def test_a_server_gets_draws_before_a_slot_of_it_is_free_and_no_more_than_wait_for_the_next(slots: int) -> None:
    supply = Supply(slots)
    under_way, calls = 0, 0
    while wanted := supply.wanted(under_way, share=10**6):
        assert wanted <= DRAWS_PER_CALL
        under_way += wanted
        calls += 1
    assert slots < under_way <= slots + supply.ahead
    assert supply.ahead == {1: 1, 2: 2, 16: 8, 256: 32, 1000: 125}[slots]
    assert supply.wanted(slots, share=10**6) > 0


@pytest.mark.parametrize(("under_way", "share", "wanted"), [(0, 10, 10), (4, 10, 6), (12, 10, 1), (0, 0, 1)])
def test_what_is_scarce_is_shared(under_way: int, share: int, wanted: int) -> None:
    assert Supply(256).wanted(under_way, share) == wanted
