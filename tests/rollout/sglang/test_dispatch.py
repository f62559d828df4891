"""Draws on their way over servers: shared out, drawn again where a server aborts, fails, hangs or dies."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from rzero_mega.config.schema import SamplingConfig, SglangConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import Draw, FinishReason, Request, Sample, draws_of, logprob_array, token_array
from rzero_mega.rollout.sglang.pool.dispatch import Dispatch, Enough
from rzero_mega.rollout.sglang.pool.engine import UnitsUnderWay
from rzero_mega.rollout.sglang.pool.role_servers import RoleServers
from rzero_mega.rollout.sglang.pool.watch import watched_generate
from rzero_mega.rollout.sglang.pool.wire import Version
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.weights.transports.protocol import ServerError
from tests.processes import eventually
from tests.rollout.sglang.stand_in import NO_WEIGHTS, ScriptedServer

Body = Mapping[str, Any]
Event = dict[str, Any]
Events = AsyncIterator[Event]
VERSION = Version(3, "solver-1-3")
PATIENCE_S = 60


def requests(samples: int) -> list[Draw]:
    """As many draws, each of a prompt of its own: one token, its position."""
    return draws_of([Request(f"r{i}", (i,), 1, SamplingConfig()) for i in range(samples)])


def event(body: Body, index: int, finish: str | None = "stop") -> Event:
    """A prompt gets itself for a response."""
    (token,) = body["input_ids"][index]
    return {
        "index": index,
        "output_ids": [token],
        "meta_info": {
            "finish_reason": finish and {"type": finish},
            "weight_versions": [{"version": VERSION.on_server}],
            "output_token_logprobs": [[-0.5, token, None]],
        },
    }


async def answers(name: str, body: Body) -> Events:
    """Of a server in order, each sample's first token before the whole of it."""
    for finish in (None, "stop"):
        for index in range(len(body["input_ids"])):
            yield event(body, index, finish)


class Theatre:
    """Two servers of two slots whose answers a test makes up: `answer` gets the server's name and a call's body."""

    def __init__(
        self,
        answer: Callable[[str, Body], Events] = answers,
        responds: Callable[[str], bool] = lambda _name: True,
        attempts: int = 3,
        hang_timeout_s: float = 60.0,
    ) -> None:
        self.silent: set[str] = set()
        self.servers: dict[str, ScriptedServer] = {}
        self.asked: list[tuple[str, list[int]]] = []
        self.taken: Counter[int] = Counter()
        self.aborted = 0
        self._answer, self._responds = answer, responds
        config = SglangConfig(replicas=2, max_running_requests=2, attempts=attempts)
        config.hang_timeout_s = hang_timeout_s
        self.role = RoleServers("solver", self._start, config, NO_WEIGHTS, saves_memory=False)
        self.role.serve_first_weights()

    def run(self, draws: list[Draw]) -> tuple[dict[int, Sample], list[Draw]]:
        def taken(position: int, sample: Sample) -> bool:
            self.taken[position] += 1
            return True

        return Dispatch(self.role, draws, VERSION, [2], 10, taken).run()

    def draws_asked(self) -> Counter[int]:
        """How often each draw was asked for, by its position."""
        return Counter(position for _, positions in self.asked for position in positions)

    def _start(self, number: int, attempt: int) -> ScriptedServer:
        name = f"solver-{number}-a{attempt}"

        def answers(body: Body) -> Events:
            self.asked.append((name, [prompt[0] for prompt in body["input_ids"]]))
            return self._answer(name, body)

        def responds() -> bool:
            return name not in self.silent and self._responds(name)

        def abort_all() -> None:
            self.aborted += 1

        self.servers[name] = ScriptedServer(name, answers, responds, abort_all)
        return self.servers[name]


def dies(theatre: Theatre, name: str) -> ServerError:
    return theatre.servers[name].dies()


def test_all_servers_draw_and_every_sample_has_its_place() -> None:
    both = asyncio.Barrier(2)

    async def answer(name: str, body: Body) -> Events:
        if name not in seen:
            seen.add(name)
            async with asyncio.timeout(PATIENCE_S):
                await both.wait()  # both servers have draws under way at the same time
        async for said in answers(name, body):
            yield said

    seen: set[str] = set()
    theatre = Theatre(answer)
    samples, left = theatre.run(requests(9))
    assert left == []
    one = logprob_array([-0.5])
    assert samples == {
        i: Sample(f"r{i}", 0, (i,), token_array([i]), one, FinishReason.STOP, VERSION.number) for i in range(9)
    }
    assert theatre.draws_asked() == theatre.taken == Counter(range(9))


def test_a_long_answer_keeps_nobody_waiting_and_its_server_gets_the_next_draws() -> None:
    async def answer(name: str, body: Body) -> Events:
        for index, prompt in enumerate(body["input_ids"]):
            if prompt != [0]:
                yield event(body, index)
        if [0] in body["input_ids"]:
            async with asyncio.timeout(PATIENCE_S):
                while theatre.taken.total() < 39:
                    await asyncio.sleep(0)
            yield event(body, body["input_ids"].index([0]))

    theatre = Theatre(answer)
    samples, _ = theatre.run(requests(40))
    assert sorted(samples) == list(range(40))
    (slow,) = [name for name, positions in theatre.asked if 0 in positions]
    assert sum(name == slow for name, _ in theatre.asked) > 5


@pytest.mark.parametrize(("draws", "shares"), [(2, [1, 1]), (4, [2, 2]), (5, [2, 3])])
def test_few_draws_are_spread_over_the_servers(draws: int, shares: list[int]) -> None:
    theatre = Theatre()
    theatre.run(requests(draws))
    drawn: Counter[str] = Counter()
    for name, positions in theatre.asked:
        drawn[name] += len(positions)
    assert sorted(drawn.values()) == shares


def test_no_server_gets_more_than_it_works_on_and_as_many_that_wait() -> None:
    under_way: Counter[str] = Counter()

    async def answer(name: str, body: Body) -> Events:
        under_way[name] += len(body["input_ids"])
        most.append(under_way[name])
        for index in range(len(body["input_ids"])):
            await asyncio.sleep(0)
            under_way[name] -= 1
            yield event(body, index)

    most: list[int] = []
    Theatre(answer).run(requests(30))
    assert max(most) == 4


def test_what_a_server_aborts_is_drawn_again_and_nothing_else() -> None:
    async def answer(name: str, body: Body) -> Events:
        for index, prompt in enumerate(body["input_ids"]):
            aborts = prompt == [1] and theatre.draws_asked()[1] == 1
            yield event(body, index, "abort" if aborts else "stop")

    theatre = Theatre(answer)
    samples, left = theatre.run(requests(4))
    assert (sorted(samples), left) == ([0, 1, 2, 3], [])
    assert theatre.draws_asked() == Counter([0, 1, 1, 2, 3])


@pytest.mark.parametrize("answered", [0, 1])
def test_what_a_dead_server_leaves_goes_to_the_other_and_it_is_replaced(
    answered: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(name: str, body: Body) -> Events:
        for index in range(len(body["input_ids"])):
            if name == "solver-0-a1" and index == answered:
                raise dies(theatre, name)
            yield event(body, index)

    theatre = Theatre(answer)
    samples, left = theatre.run(requests(12))
    assert (sorted(samples), left) == (list(range(12)), [])
    assert theatre.taken == Counter(range(12))
    lost = [positions[answered:] for name, positions in theatre.asked if name == "solver-0-a1"]
    assert theatre.draws_asked() == Counter([*range(12), *(position for part in lost for position in part)])
    assert "solver-0-a2" in theatre.servers
    assert any("its requests go to other servers" in line for line in caplog.messages)
    assert any("solver replica 0" in line and "starting another" in line for line in caplog.messages)


def test_without_a_server_the_draws_that_are_left_come_back() -> None:
    async def answer(name: str, body: Body) -> Events:
        yield event(body, 0)
        raise dies(theatre, name)

    theatre = Theatre(answer)
    samples, left = theatre.run(requests(12))
    assert len(samples) == 2
    assert sorted([*samples, *(draw.position for draw in left)]) == list(range(12))


def test_what_died_under_one_engine_does_not_count_under_the_next() -> None:
    theatre = Theatre(attempts=2)
    for engine in range(1, 4):
        theatre.role.all()[0].server.stop()
        theatre.role.admit()
        theatre.role.all()[0].server.stop()
        with pytest.raises(UserError, match=r"solver replica 0 .* ended 2 times \(rollout\.sglang\.attempts"):
            theatre.role.admit()
        assert f"solver-0-a{engine + 1}" in theatre.servers
        theatre.role.next_engine()


@pytest.mark.parametrize("fault", ["error", "abort"])
def test_a_draw_that_fails_too_often_is_an_error_that_names_server_and_setting(fault: str) -> None:
    async def answer(name: str, body: Body) -> Events:
        if fault == "error":
            raise ServerError(f"{name}: generate: HTTP 500")
        yield event(body, 0, "abort")

    theatre = Theatre(answer, attempts=2)
    with pytest.raises(UserError, match=r"solver.*\(2 attempts, rollout\.sglang\.attempts\)"):
        theatre.run(requests(1))
    assert len(theatre.asked) == 2
    assert theatre.aborted == 2


def test_a_server_that_fails_a_call_and_lives_keeps_its_other_draws_and_gets_more() -> None:
    async def answer(name: str, body: Body) -> Events:
        if len(theatre.asked) == 1:
            yield event(body, 0)
            raise ServerError(f"{name}: generate: HTTP 500")
        async with asyncio.timeout(PATIENCE_S):
            while name == "solver-1-a1" and calls("solver-0-a1") < 2:
                await asyncio.sleep(0.01)
        async for said in answers(name, body):
            yield said

    def calls(name: str) -> int:
        return sum(name == asked for asked, _ in theatre.asked)

    theatre = Theatre(answer)
    samples, _ = theatre.run(requests(12))
    assert sorted(samples) == list(range(12))
    assert set(theatre.servers) == {"solver-0-a1", "solver-1-a1"}


def test_while_a_server_is_asked_whether_it_lives_the_others_draw_on() -> None:
    drawn = threading.Event()

    async def answer(name: str, body: Body) -> Events:
        if name == "solver-0-a1":
            raise dies(theatre, name)
        async for said in answers(name, body):
            yield said
        if theatre.taken.total() > 20:
            drawn.set()

    theatre = Theatre(answer)
    # A server on another node: that it has died shows late.
    theatre.servers["solver-0-a1"].alive = lambda: not drawn.wait(PATIENCE_S)  # type: ignore[method-assign]
    samples, left = theatre.run(requests(40))
    assert (sorted(samples), left) == (list(range(40)), [])
    assert "solver-0-a2" in theatre.servers


MALFORMED: dict[str, list[Any]] = {
    "no answers to 1 requests of a call": [0, 1],
    "sample 3, which is not asked for": [0, 3],
    "sample 0, which is not asked for, or answered already": [0, 0],
    "sample None, which is not asked for": [0, None],
    "sample '0', which is not asked for": ["0"],
    "says nothing of a sample": [0, {}],
    "not a sample": [{"index": 0, "meta_info": {"finish_reason": {"type": "stop"}}}],
}


@pytest.mark.parametrize("said", MALFORMED)
def test_answers_that_are_none_to_what_was_asked_are_an_error_that_names_the_server(said: str) -> None:
    async def answer(name: str, body: Body) -> Events:
        for what in MALFORMED[said]:
            yield what if isinstance(what, dict) else {**event(body, 0), "index": what}

    theatre = Theatre(answer)
    with pytest.raises(UserError, match=rf"solver replica \d .*{said}"):
        theatre.run(requests(6))
    assert theatre.aborted == 2


def test_a_sample_of_other_weights_is_an_error_that_names_server_and_versions() -> None:
    async def answer(name: str, body: Body) -> Events:
        yield event(body, 0)
        stale = event(body, 1)
        stale["meta_info"]["weight_versions"] = [{"version": "solver-1-2"}]
        yield stale

    theatre = Theatre(answer)
    with pytest.raises(UserError, match=r"solver replica \d .*solver-1-2.*solver-1-3.*missed an update"):
        theatre.run(requests(12))
    assert set(theatre.taken.values()) == {1}


HANG_S = 0.6


@pytest.mark.parametrize("late", [False, True])
def test_a_server_that_hangs_is_ended_named_and_replaced_and_no_sample_is_lost_or_counted_twice(
    late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(name: str, body: Body) -> Events:
        yield event(body, 0)
        if name == "solver-0-a1":
            theatre.silent.add(name)
            async with asyncio.timeout(PATIENCE_S):
                while not theatre.servers[name].stopped:
                    await asyncio.sleep(0.01)
            for index in range(1, len(body["input_ids"]) if late else 1):
                yield event(body, index)
            raise ServerError(f"{name}: generate: disconnected")
        for index in range(1, len(body["input_ids"])):
            yield event(body, index)

    theatre = Theatre(answer, hang_timeout_s=HANG_S)
    samples, left = theatre.run(requests(12))
    assert (sorted(samples), left) == (list(range(12)), [])
    assert theatre.taken == Counter(range(12))
    said = "solver replica 0 (http://solver-0-a1): generate: no sign of life for 0.6 s (rollout.sglang.hang_timeout_s)"
    assert any(line.startswith(said) for line in caplog.messages)
    assert "solver-0-a2" in theatre.servers


def test_a_request_may_take_longer_than_a_server_may_hang() -> None:
    async def answer(name: str, body: Body) -> Events:
        await asyncio.sleep(4 * HANG_S)
        async for said in answers(name, body):
            yield said

    theatre = Theatre(answer, hang_timeout_s=HANG_S)
    assert sorted(theatre.run(requests(4))[0]) == [0, 1, 2, 3]
    assert set(theatre.servers) == {"solver-0-a1", "solver-1-a1"}


def test_a_score_of_a_server_that_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(client: SglangClient, body: Body) -> list[Event]:
        theatre.silent.add("solver-0-a1")
        assert eventually(lambda: theatre.servers["solver-0-a1"].stopped)
        raise ServerError("solver-0-a1: generate: disconnected")

    monkeypatch.setattr(SglangClient, "generate", generate)
    theatre = Theatre(hang_timeout_s=HANG_S)
    with pytest.raises(ServerError, match="solver-0-a1: generate"):
        watched_generate(theatre.role.serving()[0], {"input_ids": [[1]]})


def test_units_are_handed_over_whole_and_nothing_is_drawn_once_it_is_enough() -> None:
    theatre = Theatre()
    draws = requests(40)
    units = [draws[start : start + 4] for start in range(0, 40, 4)]
    arrived: list[tuple[int, list[int]]] = []

    def take(number: int, samples: list[Sample]) -> bool:
        arrived.append((number, [sample.tokens[0] for sample in samples]))
        return len(arrived) < 3

    with pytest.raises(Enough):
        Dispatch(theatre.role, draws, VERSION, [2], 10, UnitsUnderWay(units, take).take).run()
    assert len(arrived) == 3
    assert all(tokens == list(range(4 * number, 4 * number + 4)) for number, tokens in arrived)
    assert theatre.draws_asked().total() < 30
    assert theatre.aborted == 2
