"""More questions asked than a step takes: the first groups that are whole are taken, and no question is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.errors import UserError
from rzero_mega.phases.over_provision import OWED_FILE, PASSES, FirstWhole, OverProvision
from rzero_mega.phases.prefetcher import Rollouts
from rzero_mega.rollout.protocol import (
    FinishReason,
    Request,
    RolloutEngine,
    Sample,
    StoppableEngine,
    TokenSpan,
    Whole,
    logprob_array,
    token_array,
)

SIZE, TAKE, QUESTIONS = 2, 4, 1000
Seconds = Callable[[int], float]
"""How long a question's answers take."""


def requests(step: int, items: Sequence[int]) -> list[Request]:
    """A prompt's one token is its question's number."""
    return [Request(f"{step}/{i}", (item,), SIZE, SamplingConfig()) for i, item in enumerate(items)]


def sample(request: Request, index: int, tokens: int, finish: FinishReason) -> Sample:
    drawn = token_array([7] * tokens), logprob_array([-1.0] * tokens)
    return Sample(request.key, index, request.prompt_tokens, *drawn, finish, 0)


class InOrder:
    """An engine that can't be stopped."""

    receivers, context = (0,), 1000

    def __init__(self) -> None:
        self.asked: list[int] = []

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        self.asked += [request.prompt_tokens[0] for request in requests]
        return [sample(request, i, 10, FinishReason.STOP) for request in requests for i in range(request.n)]

    def _unused(self, *_: Any) -> Any:
        raise AssertionError

    generate_units = score = prepare = update_weights = close = _unused


class Racing(InOrder):
    """All are begun at once, and whole in the order of what they take: a token a second."""

    version = 0

    def __init__(self, seconds: Seconds) -> None:
        super().__init__()
        self._seconds = seconds

    def generate_until(self, units: Sequence[Sequence[Request]], whole: Whole) -> list[list[Sample]]:
        takes = [self._seconds(unit[0].prompt_tokens[0]) for unit in units]
        self.asked += [unit[0].prompt_tokens[0] for unit in units]
        now = 0.0
        for number in sorted(range(len(units)), key=lambda n: takes[n]):
            now = takes[number]
            if not whole(number):
                break
        found = []
        for unit, seconds in zip(units, takes, strict=True):
            finish = FinishReason.STOP if seconds <= now else FinishReason.ABORT
            found.append([sample(r, i, int(min(now, seconds)), finish) for r in unit for i in range(r.n)])
        return found


def over_provision(share: float = 0.5) -> OverProvision:
    return OverProvision(TAKE, share, lambda first, count: [n % QUESTIONS for n in range(first, first + count)])


def taken(over: OverProvision, engine: RolloutEngine, steps: range) -> list[list[int]]:
    return [list(over.draw(step, engine, lambda items, step=step: requests(step, items)).items) for step in steps]  # type: ignore[misc]


def test_the_doubles_are_what_they_stand_for() -> None:
    assert isinstance(Racing(float), StoppableEngine) and not isinstance(InOrder(), StoppableEngine)


def test_a_step_takes_the_first_groups_that_are_whole_and_asks_the_others_first_in_the_next() -> None:
    engine = Racing(lambda item: 100.0 if item in (1, 2) else 10.0 + item)
    over = over_provision()
    first = over.draw(1, engine, lambda items: requests(1, items))
    assert (first.asked, first.items) == ([0, 1, 2, 3, 4, 5], [0, 3, 4, 5])
    assert [(s.key, s.index) for s in first.samples] == [(f"1/{n}", i) for n in (0, 3, 4, 5) for i in range(SIZE)]
    assert all(s.finish is FinishReason.STOP for s in first.samples)
    second = over.draw(2, engine, lambda items: requests(2, items))
    assert second.asked == [1, 2, 6, 7, 8, 9]


def test_the_share_of_tokens_that_were_drawn_for_nothing_is_told() -> None:
    engine = Racing(lambda item: 100.0 if item in (1, 2) else 20.0)
    metrics = over_provision().draw(1, engine, lambda items: requests(1, items)).metrics
    assert metrics == {"aborted_token_share": 2 * 20 / (6 * 20), "passed_over_rate": 0.0}


def test_a_question_with_long_answers_is_waited_for_after_some_steps() -> None:
    engine = Racing(lambda item: 10_000.0 if item == 1 else 10.0)
    over = over_provision()
    by_step = taken(over, engine, range(1, PASSES + 2))
    assert [1 in items for items in by_step] == [False] * PASSES + [True]
    assert all(len(items) == TAKE for items in by_step)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_no_question_is_lost_and_none_asked_twice_before_it_is_taken(share: float) -> None:
    engine, over = Racing(lambda item: 1.0 + (item * 7919) % 101), over_provision(share)
    steps = 60
    counted = Counter(item for items in taken(over, engine, range(1, steps + 1)) for item in items)
    assert set(counted.values()) == {1} and counted.total() == steps * TAKE
    # All but what is owed in the end, which is at most what is asked besides.
    asked_last = TAKE * steps + round(share * TAKE)
    assert len(set(range(asked_last)) - set(counted)) == round(share * TAKE)


def test_an_engine_that_cannot_be_stopped_draws_what_is_taken_and_the_batches_are_those_without() -> None:
    engine, over = InOrder(), over_provision()
    assert taken(over, engine, range(1, 6)) == [list(range(TAKE * n, TAKE * (n + 1))) for n in range(5)]
    assert engine.asked == list(range(5 * TAKE))


def test_what_is_owed_stands_in_the_checkpoint_and_a_resumed_phase_asks_the_same(tmp_path: Path) -> None:
    engine, undisturbed = Racing(lambda item: 1.0 + (item * 7919) % 101), over_provision()
    taken(undisturbed, engine, range(1, 4))
    undisturbed.save(tmp_path)
    resumed = over_provision()
    resumed.load(tmp_path)
    after = taken(undisturbed, engine, range(4, 8))
    assert taken(resumed, engine, range(4, 8)) == after
    # Rollouts that were drawn ahead and do not fit any more are drawn anew: the step before the last is known too.
    again = over_provision()
    again.load(tmp_path)
    assert taken(again, engine, range(3, 8))[1:] == after


@pytest.mark.parametrize("text", ["[]", '{"1": {"asked": 1}}', '{"x": {"asked": 1, "owed": []}}', '{"1": {"owed": 3}}'])
def test_malformed_debts_in_a_checkpoint_name_their_file(text: str, tmp_path: Path) -> None:
    (tmp_path / OWED_FILE).write_text(text)
    with pytest.raises(UserError, match=OWED_FILE):
        over_provision().load(tmp_path)


def test_those_that_are_due_are_among_those_taken_however_late() -> None:
    first = FirstWhole(2, due=[5])
    assert [first(number) for number in (1, 0, 3)] == [True, True, True]
    assert not first(5)
    assert first.taken() == [1, 5]


def test_a_sample_that_was_stopped_is_trained_on_by_nobody() -> None:
    engine = Racing(lambda item: 1.0 + item)
    drawn = over_provision(1.0).draw(1, engine, lambda items: requests(1, items))
    assert {s.finish for s in drawn.samples} == {FinishReason.STOP}


class Continuing(Racing):
    """As `Racing`, but a question's answers take as long as they take in all, whoever draws them when."""

    def generate_until(self, units: Sequence[Sequence[Request]], whole: Whole) -> list[list[Sample]]:
        def left(request: Request) -> float:
            return self._seconds(request.prompt_tokens[0]) - (len(request.prompt_tokens) - 1)

        self.asked += [unit[0].prompt_tokens[0] for unit in units]
        takes = [max(map(left, unit)) for unit in units]
        now = 0.0
        for number in sorted(range(len(units)), key=lambda n: takes[n]):
            now = takes[number]
            if not whole(number):
                break

        def drawn(request: Request, index: int) -> Sample:
            finish = FinishReason.STOP if left(request) <= now else FinishReason.ABORT
            found = sample(request, index, int(min(now, left(request))), finish)
            return replace(
                found, weight_version=self.version, logprobs=logprob_array([-self.version] * len(found.tokens))
            )

        return [[drawn(r, r.first_index + i) for r in unit for i in range(r.n)] for unit in units]


def partial(times: int, share: float = 0.5) -> OverProvision:
    return OverProvision(TAKE, share, lambda first, count: list(range(first, first + count)), times)


def drawn_under_new_weights(over: OverProvision, engine: Continuing, steps: range) -> list[Any]:
    found = []
    for step in steps:
        engine.version = step - 1
        found.append(over.draw(step, engine, lambda items, step=step: requests(step, items)))  # type: ignore[misc]
    return found


def test_what_was_stopped_goes_on_under_the_next_weights_with_its_tokens_and_versions() -> None:
    engine = Continuing(lambda item: 25.0 if item in (1, 2) else 10.0)
    first, second, third = drawn_under_new_weights(partial(3), engine, range(1, 4))
    assert (first.items, second.items, third.items) == ([0, 3, 4, 5], [6, 7, 8, 9], [1, 2, 10, 11])
    long = third.samples[0]
    assert (len(long.tokens), long.earlier, long.weight_version) == (25, (TokenSpan(0, 10), TokenSpan(1, 10)), 2)
    assert list(long.logprobs) == [0.0] * 10 + [-1.0] * 10 + [-2.0] * 5
    assert long.prompt_tokens == (1,) and long.finish is FinishReason.STOP
    stale = {"aborted_token_share": 0.0, "passed_over_rate": 0.5, "stale_token_share": 4 * 20 / (4 * 25 + 4 * 10)}
    assert third.metrics == pytest.approx(stale)
    rollouts = Rollouts(third.samples, [0.0] * 8, third.metrics)
    assert rollouts.staleness(3) == 2 and Rollouts(second.samples, [0.0] * 8, {}).staleness(2) == 0


@pytest.mark.parametrize("times", [1, 2])
def test_no_more_versions_draw_a_sample_than_are_allowed(times: int) -> None:
    engine = Continuing(lambda item: 1000.0 if item % 5 == 1 else 10.0)
    for step, drawn in enumerate(drawn_under_new_weights(partial(times), engine, range(1, 20)), start=1):
        assert all(len(s.earlier) <= times and step - 1 - s.oldest_version <= times for s in drawn.samples)
        assert all(len(s.tokens) == len(s.logprobs) == engine._seconds(s.prompt_tokens[0]) for s in drawn.samples)


def test_no_token_is_drawn_twice_and_what_became_whole_in_the_end_is_taken_undrawn() -> None:
    """Two groups become whole at the same time; one of them is more than the step takes."""
    engine = Continuing(lambda item: 10.0)
    first, second = drawn_under_new_weights(partial(2), engine, range(1, 3))
    assert second.items[:2] == first.asked[TAKE:] and engine.asked.count(first.asked[TAKE]) == 1
    assert {s.weight_version for s in second.samples[: 2 * SIZE]} == {0}


def test_begun_samples_stand_in_the_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    engine, undisturbed = Continuing(lambda item: 5.0 + (item * 37) % 41), partial(3)
    drawn_under_new_weights(undisturbed, engine, range(1, 4))
    undisturbed.save(tmp_path)
    resumed = partial(3)
    resumed.load(tmp_path)
    after = [drawn_under_new_weights(over, engine, range(4, 9)) for over in (undisturbed, resumed)]
    assert after[0] == after[1]
    assert any(s.earlier for drawn in after[0] for s in drawn.samples)


def test_an_engine_that_cannot_be_stopped_draws_from_the_beginning_what_another_has_begun() -> None:
    engine, over = Continuing(lambda item: 25.0 if item in (1, 2) else 10.0), partial(3)
    drawn_under_new_weights(over, engine, range(1, 2))
    second = over.draw(2, InOrder(), lambda items: requests(2, items))
    assert second.items == [1, 2, 6, 7] and all(not s.earlier and len(s.tokens) == 10 for s in second.samples)
