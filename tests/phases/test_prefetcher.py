"""Rollouts for each step, or one step ahead of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from rzero_mega.errors import UserError
from rzero_mega.phases.prefetcher import AHEAD_FILE, LockableWeights, RolloutPrefetcher, Rollouts
from rzero_mega.rollout.protocol import FinishReason, Sample, logprob_array, token_array
from rzero_mega.weights.sources import GatheredWeights

WAIT_S = 30.0


def rollouts(step: int, version: int = 0, scales: list[float] | None = None) -> Rollouts:
    drawn = token_array((3, 4)), logprob_array((-0.1 / 3, -1.5))
    samples = [Sample(f"0/1/{step}", i, (1, 2), *drawn, FinishReason.STOP, version) for i in range(2)]
    return Rollouts(samples, [0.1, 1 / 3], {"accuracy": 2 / 3}, scales)


def weights() -> LockableWeights:
    return LockableWeights(GatheredWeights(lambda: iter([("w", torch.ones(2))]), 64))


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Log:
    """What was drawn and trained, in order."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def draw(self, step: int) -> Rollouts:
        self.entries.append(f"draw {step}")
        return rollouts(step)

    def run(self, prefetcher: RolloutPrefetcher, steps: int) -> None:
        for step in range(1, steps + 1):
            taken = prefetcher.take(step)
            assert taken.samples[0].key == f"0/1/{step}"
            with prefetcher.drawing_ahead(step):
                self.entries.append(f"train {step}")


def test_without_ahead_every_step_draws_its_own() -> None:
    log = Log()
    log.run(RolloutPrefetcher(log.draw, 0, 3, weights(), None), 3)
    assert log.entries == ["draw 1", "train 1", "draw 2", "train 2", "draw 3", "train 3"]


def test_ahead_in_the_same_processes_draws_before_it_trains() -> None:
    log = Log()
    log.run(RolloutPrefetcher(log.draw, 1, 3, weights(), None), 3)
    assert log.entries == ["draw 1", "draw 2", "train 1", "draw 3", "train 2", "train 3"]


def test_ahead_in_a_thread_draws_while_it_trains(thread: ThreadPoolExecutor) -> None:
    training, drawing = threading.Event(), threading.Event()

    def draw(step: int) -> Rollouts:
        if step == 2:
            drawing.set()
            assert training.wait(WAIT_S)
        return rollouts(step)

    prefetcher = RolloutPrefetcher(draw, 1, 2, weights(), thread)
    prefetcher.take(1)
    with prefetcher.drawing_ahead(1):
        training.set()
        assert drawing.wait(WAIT_S)
    assert prefetcher.take(2).samples[0].key == "0/1/2"


def test_weights_are_out_of_reach_while_a_thread_draws_and_only_then(thread: ThreadPoolExecutor) -> None:
    guarded = weights()

    def draw(step: int) -> Rollouts:
        list(guarded)
        return rollouts(step)

    prefetcher = RolloutPrefetcher(draw, 1, 3, guarded, thread)
    prefetcher.take(1)
    replaced = "a server had to be replaced while rollouts were drawn ahead"
    with pytest.raises(UserError, match=replaced), prefetcher.drawing_ahead(1):
        pass
    guarded.locked = False
    assert [bucket.slots[0].name for bucket in guarded] == ["w"]


def test_an_error_of_the_training_waits_for_the_thread_and_passes_on(thread: ThreadPoolExecutor) -> None:
    finished = threading.Event()
    failing = threading.Event()

    def draw(step: int) -> Rollouts:
        if step == 2:
            assert failing.wait(WAIT_S)
            finished.set()
        return rollouts(step)

    prefetcher = RolloutPrefetcher(draw, 1, 2, weights(), thread)
    prefetcher.take(1)
    with pytest.raises(RuntimeError, match="diverged"), prefetcher.drawing_ahead(1):
        failing.set()
        raise RuntimeError("diverged")
    assert finished.is_set()


def test_a_checkpoint_holds_what_is_drawn_already_bit_for_bit(tmp_path: Path) -> None:
    log = Log()
    prefetcher = RolloutPrefetcher(log.draw, 1, 3, weights(), None)
    prefetcher.take(1)
    with prefetcher.drawing_ahead(1):
        pass
    prefetcher.save(tmp_path)
    resumed = RolloutPrefetcher(log.draw, 1, 3, weights(), None)
    resumed.load(tmp_path)
    assert resumed.take(2) == rollouts(2)
    assert log.entries == ["draw 1", "draw 2", "draw 3"]


@pytest.mark.parametrize("scales", [None, [0.1, 1 / 3]])
def test_scales_of_advantages_are_in_it_too(scales: list[float] | None, tmp_path: Path) -> None:
    prefetcher = RolloutPrefetcher(lambda step: rollouts(step, scales=scales), 1, 3, weights(), None)
    prefetcher.take(1)
    with prefetcher.drawing_ahead(1):
        pass
    prefetcher.save(tmp_path)
    resumed = RolloutPrefetcher(lambda step: rollouts(step, version=9), 1, 3, weights(), None)
    resumed.load(tmp_path, lambda _: True)
    assert resumed.take(2) == rollouts(2, scales=scales)


def test_rollouts_that_do_not_fit_what_a_step_takes_now_are_drawn_anew(tmp_path: Path) -> None:
    log = Log()
    prefetcher = RolloutPrefetcher(log.draw, 1, 3, weights(), None)
    prefetcher.take(1)
    with prefetcher.drawing_ahead(1):
        pass
    prefetcher.save(tmp_path)
    resumed = RolloutPrefetcher(log.draw, 1, 2, weights(), None)
    resumed.load(tmp_path, lambda _: False)
    assert resumed.take(2) == rollouts(2)
    assert log.entries == ["draw 1", "draw 2", "draw 2"]


def test_a_checkpoint_without_rollouts_is_gone_on_from(tmp_path: Path) -> None:
    log = Log()
    prefetcher = RolloutPrefetcher(log.draw, 1, 3, weights(), None)
    prefetcher.save(tmp_path)
    assert not list(tmp_path.iterdir())
    prefetcher.load(tmp_path)
    prefetcher.take(2)
    assert log.entries == ["draw 2", "draw 3"]


@pytest.mark.parametrize("text", ["{}", "[]", '{"step": 1, "samples": [{"key": 1}], "rewards": []}', "x"])
def test_malformed_rollouts_in_a_checkpoint_name_their_file(text: str, tmp_path: Path) -> None:
    (tmp_path / AHEAD_FILE).write_text(text)
    with pytest.raises(UserError, match=AHEAD_FILE):
        RolloutPrefetcher(rollouts, 1, 3, weights(), None).load(tmp_path)


def test_staleness_is_that_of_the_oldest_sample() -> None:
    assert rollouts(4, version=3).staleness(4) == 0
    assert rollouts(4, version=2).staleness(4) == 1
