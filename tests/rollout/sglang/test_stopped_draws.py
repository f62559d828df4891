"""Draws that are stopped when it is enough: what there is of them comes back, also from servers that die of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.rollout.protocol import Draw, FinishReason, Request, Sample, draws_of
from rzero_mega.rollout.sglang.pool.dispatch import AtEnough, Dispatch
from rzero_mega.weights.transports.protocol import ServerError
from tests.rollout.sglang.stand_in import ScriptedServer
from tests.rollout.sglang.test_dispatch import (
    HANG_S,
    PATIENCE_S,
    VERSION,
    Body,
    Events,
    Theatre,
    answers,
    dies,
    event,
    requests,
)


class Stopping(Theatre):
    """Draws of even positions are answered at once. The others stop on request, with `tokens` tokens by then."""

    def __init__(self, tokens: int = 3, at_stop: Callable[[str, int], None] = lambda _name, _times: None) -> None:
        super().__init__(self._answer_or_wait, hang_timeout_s=HANG_S)
        self._tokens, self._at_stop = tokens, at_stop
        self._aborts: Counter[str] = Counter()
        self._deaf: Callable[[str, int], bool] = lambda _name, _times: False

    def deaf(self, until: Callable[[str, int], bool]) -> Stopping:
        """Servers do not hear the aborts, numbered from 1, for which `until` says so."""
        self._deaf = until
        return self

    def stop_after(self, samples: int, draws: list[Draw]) -> tuple[dict[int, Sample], list[Draw]]:
        def taken(position: int, sample: Sample) -> bool:
            self.taken[position] += 1
            return self.taken.total() < samples

        return Dispatch(self.role, draws, VERSION, [2], 10, taken, at_enough=AtEnough.STOP).run()

    def _start(self, number: int, attempt: int) -> ScriptedServer:
        server = super()._start(number, attempt)

        def abort_all() -> None:
            self._aborts[server.name] += 1
            self._at_stop(server.name, self._aborts[server.name])

        server.abort_all = abort_all
        return server

    async def _answer_or_wait(self, name: str, body: Body) -> Events:
        waiting = [index for index, (token,) in enumerate(body["input_ids"]) if token % 2]
        for index in range(len(body["input_ids"])):
            if index not in waiting:
                yield event(body, index)
        async with asyncio.timeout(PATIENCE_S):
            while waiting and (not self._aborts[name] or self._deaf(name, self._aborts[name])):
                if not self.servers[name].alive():
                    raise ServerError(f"{name}: generate: disconnected")
                await asyncio.sleep(0.01)
        for index in waiting:
            cut = event(body, index, "abort")
            (token,) = body["input_ids"][index]
            cut["output_ids"] = [token] * self._tokens
            cut["meta_info"]["output_token_logprobs"] = [[-0.5, token, None]] * self._tokens
            yield cut


@pytest.mark.parametrize("tokens", [0, 3])
def test_at_enough_what_is_unfinished_is_stopped_and_there_as_far_as_it_is(tokens: int) -> None:
    theatre = Stopping(tokens)
    samples, left = theatre.stop_after(2, requests(20))
    assert left == []
    whole = {position for position, sample in samples.items() if sample.finish is FinishReason.STOP}
    cut = {position: sample for position, sample in samples.items() if sample.finish is FinishReason.ABORT}
    assert len(whole) >= 2 and all(position % 2 == 0 for position in whole)
    assert cut and all(len(sample.tokens) == len(sample.logprobs) == tokens for sample in cut.values())
    # What was begun, and no more: the slots of two servers and as many that wait there.
    assert theatre.draws_asked() == Counter([*whole, *cut]) and len(samples) <= 8


def test_draws_that_may_be_stopped_are_begun_as_given_and_not_the_longest_first() -> None:
    draws = draws_of([Request(f"r{i}", (2 * i,), 1, SamplingConfig(max_new_tokens=1 + i % 3)) for i in range(8)])
    theatre = Stopping()
    theatre.stop_after(8, draws)
    asked = [position for _, positions in theatre.asked for position in positions]
    assert asked == [2 * i for i in range(8)]


def test_a_call_that_was_on_its_way_when_servers_were_told_to_stop_is_stopped_too() -> None:
    theatre = Stopping().deaf(lambda _name, times: times < 3)
    samples, _ = theatre.stop_after(2, requests(20))
    assert any(sample.finish is FinishReason.ABORT for sample in samples.values())


def test_a_server_that_dies_while_it_is_told_to_stop_costs_what_it_had_and_nothing_is_counted_twice() -> None:
    def at_stop(name: str, times: int) -> None:
        if name == "solver-0-a1":
            theatre.servers[name].dead = True

    theatre = Stopping(at_stop=at_stop).deaf(lambda name, _times: name == "solver-0-a1")
    samples, left = theatre.stop_after(2, requests(20))
    assert left == []
    assert max(theatre.draws_asked().values()) == 1 and set(theatre.taken.values()) == {1}
    cut = {position for position, sample in samples.items() if sample.finish is FinishReason.ABORT}
    asked_of_the_other = {p for name, positions in theatre.asked for p in positions if name == "solver-1-a1"}
    assert cut and cut <= asked_of_the_other
    assert "solver-0-a2" in theatre.servers


def test_a_server_that_dies_before_it_is_enough_has_its_half_finished_draws_drawn_by_the_other() -> None:
    async def answer(name: str, body: Body) -> Events:
        if name == "solver-0-a1":
            yield event(body, 0, None)  # its first token
            raise dies(theatre, name)
        async for said in answers(name, body):
            yield said

    theatre = Theatre(answer)

    def taken(position: int, sample: Sample) -> bool:
        theatre.taken[position] += 1
        return theatre.taken.total() < 12

    dispatch = Dispatch(theatre.role, requests(12), VERSION, [2], 10, taken, at_enough=AtEnough.STOP)
    samples, left = dispatch.run()
    assert (sorted(samples), left) == (list(range(12)), [])
    assert theatre.taken == Counter(range(12))


def test_a_server_that_hangs_when_it_is_told_to_stop_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    def at_stop(name: str, times: int) -> None:
        if name == "solver-0-a1":
            theatre.silent.add(name)

    theatre = Stopping(at_stop=at_stop).deaf(lambda name, _times: name == "solver-0-a1")
    theatre.stop_after(2, requests(20))
    assert any("solver replica 0" in line and "no sign of life" in line for line in caplog.messages)
    assert theatre.servers["solver-0-a1"].stopped
