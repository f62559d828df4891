"""What servers do, counted as it comes."""

from __future__ import annotations

import random

import pytest

from rzero_mega.rollout.sglang.pool.server_work import PAUSE_S, BusyPeriod, ServerWork

SLOTS = 4


def work() -> ServerWork:
    return ServerWork("solver", 1, SLOTS)


def test_slots_are_counted_by_the_time_that_they_are_taken() -> None:
    server = work()
    server.asked(6, 10.0)  # two of them wait
    server.answered(100, 12.0)
    server.answered(50, 13.0)
    server.lost(3, 13.5)
    server.answered(7, 16.0)
    took = 4 * 2.0 + 4 * 1.0 + 4 * 0.5 + 1 * 2.5
    assert server.take(20.0) == [BusyPeriod("solver", 1, 10.0, 6.0, 3, 157, SLOTS, took)]
    assert server.take(30.0) == [] and server.under_way == 0


def test_a_pause_parts_two_periods_and_a_short_one_does_not() -> None:
    server = work()
    for began in (0.0, 1.0 + PAUSE_S / 2, 10.0):
        server.asked(1, began)
        server.answered(10, began + 1.0)
    first, second = server.take(20.0)
    assert (first.began, first.seconds, first.draws) == (0.0, 2.0 + PAUSE_S / 2, 2)
    assert (second.began, second.seconds, second.draws) == (10.0, 1.0, 1)
    assert first.slot_seconds == 2.0


def test_what_is_under_way_is_told_as_far_as_it_is_and_nothing_twice() -> None:
    chance, server, now = random.Random(3), work(), 0.0
    told: list[BusyPeriod] = []
    slot_seconds, tokens, draws = 0.0, 0, 0
    for _ in range(500):
        passed = chance.random() * 0.1
        slot_seconds += min(server.under_way, SLOTS) * passed
        now += passed
        match chance.choice(["asked", "answered", "lost", "take"]):
            case "asked":
                server.asked(chance.randint(1, 3), now)
            case "answered" if server.under_way:
                draws, tokens = draws + 1, tokens + 5
                server.answered(5, now)
            case "lost" if server.under_way:
                server.lost(1, now)
            case "take":
                told += server.take(now)
    told += server.take(now)
    assert sum(period.slot_seconds for period in told) == pytest.approx(slot_seconds)
    assert (sum(period.draws for period in told), sum(period.tokens for period in told)) == (draws, tokens)
    ends = [0.0, *(period.began + period.seconds for period in told)]
    assert all(period.began >= end - 1e-9 for period, end in zip(told, ends, strict=False))
