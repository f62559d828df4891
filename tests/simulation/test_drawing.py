"""The engine's own queue and dispatch, driven in virtual time by servers of a given speed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rzero_mega.planning.assumptions import shipped
from rzero_mega.planning.hardware import GPUS
from rzero_mega.planning.models import MODELS
from rzero_mega.planning.servers import DecodeStep
from rzero_mega.rollout.protocol import Sample
from rzero_mega.rollout.sglang.pool.draw_queue import DrawQueue
from rzero_mega.simulation.drawing import Asked, Drawn, Fleet, Lengths, draw
from rzero_mega.simulation.servers import ServerSpeed

DECODE = DecodeStep(MODELS["Qwen3-8B"], GPUS["H100"], 1, 2, shipped().decoding)
SPEED = ServerSpeed(slots=16, kv_tokens=300_000, decode=DECODE, call_s=0.02)
TAIL = Lengths(600, 0.6, 0.03)


def asked(prompts: int = 64, samples: int = 10, lengths: Lengths = TAIL, **fields: Any) -> Asked:
    return Asked(prompts, samples, 150, 4096, lengths, **fields)


def drawn(*calls: Asked, servers: int = 2, calls_of: int | None = None, **speed: Any) -> Drawn:
    return draw(Fleet(servers, replace(SPEED, **speed)), calls or (asked(),), calls_of)


def test_every_draw_is_drawn_once_by_the_real_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = list[int]()
    take = DrawQueue.take

    def counted(queue: DrawQueue, server: int, count: int) -> Any:
        found = take(queue, server, count)
        taken.extend(draw.position for draw in found)
        return found

    monkeypatch.setattr(DrawQueue, "take", counted)
    draw.cache_clear()
    found = drawn(asked(7, 3), asked(5, 2))
    assert found.draws == 31 and sorted(taken) == list(range(31))


def test_one_server_and_one_draw_take_what_the_steps_take() -> None:
    found = drawn(asked(1, 1, Lengths(500, 0.0, 0.0)), servers=1)
    seconds = DECODE.prefill_seconds(150) + 500 * DECODE.seconds(1, 150 + 250) + SPEED.call_s
    assert found.tokens == 500 and found.seconds == pytest.approx(seconds, rel=1e-3)
    # Busy but for the call's way.
    assert found.busy_s == pytest.approx(seconds - SPEED.call_s, rel=1e-3)


def test_what_is_decided_is_aborted_wherever_it_is_and_costs_no_more() -> None:
    told = list[str]()

    def decided(sample: Sample) -> bool:
        told.append(sample.key)
        return True

    fleet, call = Fleet(2, SPEED), (asked(64),)
    whole, first = draw(fleet, call), draw(fleet, call, deciding=lambda: decided)
    assert sorted(told) == sorted(f"0/{prompt}" for prompt in range(64)) and first.draws == whole.draws
    # The shortest of ten, and what others had by then.
    assert first.tokens < 0.7 * whole.tokens and first.seconds < 0.7 * whole.seconds


def test_where_nothing_is_decided_all_is_drawn_as_ever() -> None:
    fleet, call = Fleet(2, SPEED), (asked(64),)
    whole, all_needed = draw(fleet, call), draw(fleet, call, deciding=lambda: lambda _sample: False)
    assert all_needed.tokens == whole.tokens and all_needed.busy_s == whole.busy_s
    assert all_needed.seconds == pytest.approx(whole.seconds, rel=1e-9)


def test_slots_are_full_and_a_call_answered_as_a_whole_keeps_them_waiting() -> None:
    queue, calls = drawn(asked(128)), drawn(asked(128), calls_of=16)
    assert queue.slots > 0.95 > calls.slots
    assert calls.seconds > 1.3 * queue.seconds and queue.tokens == calls.tokens


@pytest.mark.parametrize("servers", [1, 2, 4])
def test_servers_are_busy_at_most_as_long_as_it_takes(servers: int) -> None:
    found = drawn(servers=servers)
    assert 0 < found.busy_s <= servers * found.seconds and 0 < found.slots <= 1


def test_faster_servers_and_more_of_them_never_take_longer() -> None:
    base = drawn()
    decoding = DECODE.decoding
    for name in ("memory_share", "compute_share"):
        faster = replace(DECODE, decoding=replace(decoding, **{name: 1.5 * getattr(decoding, name)}))
        assert drawn(decode=faster).seconds <= base.seconds
    for name in ("fixed_s", "per_sequence_s"):
        faster = replace(DECODE, decoding=replace(decoding, **{name: 0.5 * getattr(decoding, name)}))
        assert drawn(decode=faster).seconds < base.seconds
    assert drawn(slots=32).seconds < base.seconds
    assert drawn(servers=4).seconds < base.seconds


def test_a_cache_with_little_room_lets_fewer_draws_run() -> None:
    assert drawn(kv_tokens=4000).seconds > 1.5 * drawn().seconds
    # A draw that doesn't fit beside others still runs by itself.
    assert drawn(asked(2, 2), kv_tokens=1).draws == 4


def test_log_probabilities_and_prompts_of_their_own_cost_time() -> None:
    assert drawn(asked(logprobs=True)).seconds > drawn().seconds
    assert drawn(asked(one_prompt=True)).seconds < drawn().seconds


@pytest.mark.parametrize("lengths", [TAIL, Lengths(3000, 1.0, 0.0), Lengths(40, 0.5, 0.5), Lengths(700, 0.0, 0.1)])
def test_the_mean_of_lengths_is_that_of_many(lengths: Lengths) -> None:
    import random

    numbers = random.Random(1)
    many = [lengths.sample(numbers, 4096) for _ in range(20_000)]
    assert lengths.mean(4096) == pytest.approx(sum(many) / len(many), rel=0.03)
    assert max(many) <= 4096


def test_of_very_many_draws_a_part_tells_how_long_all_take(monkeypatch: pytest.MonkeyPatch) -> None:
    many = asked(120)
    part = drawn(many)
    monkeypatch.setattr("rzero_mega.simulation.drawing.PER_SLOT", 10_000)
    draw.cache_clear()
    whole = drawn(many)
    draw.cache_clear()
    assert part.draws == whole.draws == 1200 and part.pace_s != whole.pace_s
    assert part.seconds == pytest.approx(whole.seconds, rel=0.1)
    assert part.busy_s == pytest.approx(whole.busy_s, rel=0.1) and part.busy_s <= 2 * part.seconds


def test_what_is_enough_ends_a_call_before_the_longest_answers_do() -> None:
    fleet = Fleet(2, SPEED)
    all_of_it, enough = draw(fleet, (asked(64, 5),)), draw(fleet, (asked(80, 5),), groups=64)
    assert enough.seconds < all_of_it.seconds
    assert 64 * 5 <= enough.draws < 80 * 5
    assert 0 < enough.busy_s <= 2 * enough.seconds and enough.tokens > 0
