"""Draws that nobody needs any more: not begun, or aborted one by one; what becomes of them on servers that fail."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.rollout.protocol import Decided, Draw, FinishReason, Request, Sample, draws_of
from rzero_mega.rollout.sglang.pool.dispatch import Dispatch, Enough
from rzero_mega.rollout.sglang.pool.needed_draws import NeededDraws
from rzero_mega.weights.transports.protocol import ServerError
from tests.rollout.sglang.stand_in import ScriptedServer
from tests.rollout.sglang.test_dispatch import PATIENCE_S, VERSION, Body, Events, Theatre, event

SAMPLES = 4


class Waiting(Theatre):
    """Only the first sample of each prompt is answered by itself; the others once they are to be aborted."""

    def __init__(self, at_abort: Callable[[str], str | None] = lambda _server: "abort") -> None:
        """`at_abort` gets the server; how a sample of its then ends, of one token, if it does."""
        self._at_abort = at_abort
        self._begun: set[int] = set()
        self._ends: dict[str, str | None] = {}
        self.names: list[str] = []
        self.aborts: list[str] = []
        super().__init__(self._answer_or_wait)

    def draw(self, prompts: int, decided: Decided) -> dict[int, Sample]:
        requests = [Request(f"r{i}", (i,), SAMPLES, SamplingConfig()) for i in range(prompts)]
        draws = draws_of(requests)

        def taken(position: int, sample: Sample) -> bool:
            self.taken[position] += 1
            return True

        needed = NeededDraws(draws, decided)
        samples: dict[int, Sample] = {}
        left: list[Draw] = draws
        while left:
            dispatch = Dispatch(self.role, left, VERSION, [2], 10, taken, unneeded=needed.unneeded_after)
            drawn, left = dispatch.run()
            samples |= drawn
        return samples

    def end_all(self, finish: str) -> None:
        """Whatever waits ends so."""
        self._ends |= dict.fromkeys(self.names, finish)

    def _start(self, number: int, attempt: int) -> ScriptedServer:
        server = super()._start(number, attempt)

        def abort(request: str) -> None:
            self.aborts.append(request)
            self._ends[request] = self._at_abort(server.name)

        server.abort = abort
        return server

    async def _answer_or_wait(self, name: str, body: Body) -> Events:
        self.names += body["rid"]
        waiting = []
        for index, (token,) in enumerate(body["input_ids"]):
            if token in self._begun:
                waiting.append(index)
            else:
                self._begun.add(token)
                yield event(body, index)
        async with asyncio.timeout(PATIENCE_S):
            while waiting:
                if not self.servers[name].alive():
                    raise ServerError(f"{name}: generate: disconnected")
                for index in [index for index in waiting if self._ends.get(body["rid"][index])]:
                    waiting.remove(index)
                    yield event(body, index, self._ends[body["rid"][index]])
                await asyncio.sleep(0.01)


def at_once(sample: Sample) -> bool:
    """One sample decides."""
    return True


def check_all_there(theatre: Waiting, samples: dict[int, Sample], prompts: int) -> None:
    """Every draw has a sample that was handed over once: one of each prompt whole, the others aborted."""
    assert sorted(samples) == list(range(prompts * SAMPLES)) and theatre.taken == Counter(samples.keys())
    whole = [sample.key for sample in samples.values() if sample.finish is FinishReason.STOP]
    assert sorted(whole) == sorted(f"r{i}" for i in range(prompts))
    rest = [sample for sample in samples.values() if sample.finish is not FinishReason.STOP]
    assert all(sample.finish is FinishReason.ABORT for sample in rest)
    assert all((sample.key, sample.index) == (f"r{p // SAMPLES}", p % SAMPLES) for p, sample in samples.items())


def test_what_waits_is_not_begun_and_what_is_under_way_is_aborted() -> None:
    theatre = Waiting()
    samples = theatre.draw(6, at_once)
    check_all_there(theatre, samples, 6)
    aborted = [sample for sample in samples.values() if sample.finish is FinishReason.ABORT]
    under_way = [sample for sample in aborted if len(sample.tokens)]
    assert len(under_way) == len(theatre.aborts) == len(set(theatre.aborts)) > 0
    assert len(theatre.names) == 6 + len(under_way) < 6 * SAMPLES
    # A server aborts whatever begins with the name that it is told.
    assert {len(name) for name in theatre.names} == {32} and len(set(theatre.names)) == len(theatre.names)


def test_without_anybody_who_decides_requests_have_no_names() -> None:
    async def answer(name: str, body: Body) -> Events:
        assert "rid" not in body
        for index in range(len(body["input_ids"])):
            yield event(body, index)

    Theatre(answer).run(draws_of([Request("r", (1,), 3, SamplingConfig())]))


def test_each_request_is_decided_by_its_own_samples_and_asked_no_more_once_it_is() -> None:
    told: list[str] = []

    def decided(sample: Sample) -> bool:
        told.append(sample.key)
        return True

    theatre = Waiting()
    check_all_there(theatre, theatre.draw(3, decided), 3)
    assert sorted(told) == ["r0", "r1", "r2"]


def test_what_becomes_whole_before_its_abort_arrives_is_a_sample_like_others() -> None:
    async def answer(name: str, body: Body) -> Events:
        for index in range(len(body["input_ids"])):
            yield event(body, index)

    draws = draws_of([Request("r", (1,), 2, SamplingConfig())])
    samples, left = Dispatch(
        Theatre(answer).role, draws, VERSION, [2], 10, unneeded=NeededDraws(draws, at_once).unneeded_after
    ).run()
    assert left == [] and [samples[place].finish for place in (0, 1)] == [FinishReason.STOP] * 2


def test_a_server_that_dies_of_an_abort_leaves_nothing_that_is_drawn_again() -> None:
    def dies(server: str) -> str | None:
        theatre.servers[server].dead |= server == "solver-0-a1"
        return None if theatre.servers[server].dead else "abort"

    theatre = Waiting(dies)
    samples = theatre.draw(6, at_once)
    check_all_there(theatre, samples, 6)
    unbegun = Counter(position for _, positions in theatre.asked for position in positions)
    assert "solver-0-a2" in theatre.servers and max(unbegun.values()) <= SAMPLES


def test_a_server_that_refuses_to_abort_is_waited_for() -> None:
    def refuses(server: str) -> str | None:
        asyncio.get_running_loop().call_later(0.05, lambda: theatre.end_all("stop"))
        raise ServerError(f"{server}: abort_request: HTTP 500")

    theatre = Waiting(refuses)
    samples = theatre.draw(1, at_once)
    assert theatre.taken == Counter(samples.keys()) and theatre.aborts
    assert {sample.finish for sample in samples.values()} == {FinishReason.STOP}


def test_who_has_enough_of_it_gets_no_more_of_what_is_given_up() -> None:
    draws = draws_of([Request(f"r{i}", (i,), SAMPLES, SamplingConfig()) for i in range(2)])
    theatre = Waiting()
    with pytest.raises(Enough):
        Dispatch(
            theatre.role, draws, VERSION, [2], 10, lambda *_: False, unneeded=NeededDraws(draws, at_once).unneeded_after
        ).run()
    assert theatre.aborts == []
