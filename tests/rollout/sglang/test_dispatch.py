"""Draws on their way over servers: shared out, drawn again where a server aborts, fails or dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rzero_mega.config.schema import SamplingConfig, SglangConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import Draw, FinishReason, Request, Sample, draws_of
from rzero_mega.rollout.sglang.pool.dispatch import Dispatch, Enough, batches_of
from rzero_mega.rollout.sglang.pool.engine import UnitsUnderWay
from rzero_mega.rollout.sglang.pool.role_servers import RoleServers
from rzero_mega.rollout.sglang.pool.watch import watched_generate
from rzero_mega.rollout.sglang.pool.wire import Version
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.weights.transports.protocol import ServerError
from tests.processes import eventually
from tests.rollout.sglang.stand_in import NO_WEIGHTS, StandInServer

Body = Mapping[str, Any]
Answers = list[dict[str, Any]]
VERSION = Version(3, "solver-1-3")


def requests(samples: int) -> list[Draw]:
    """As many draws, each of a prompt of its own: one token, its position."""
    return draws_of([Request(f"r{i}", (i,), 1, SamplingConfig()) for i in range(samples)])


def answers(body: Body, finish: str = "stop") -> Answers:
    """Of a server in order: every prompt gets itself for a response."""
    return [
        {
            "output_ids": prompt,
            "meta_info": {
                "finish_reason": {"type": finish},
                "weight_versions": [{"version": VERSION.on_server}],
                "output_token_logprobs": [[-0.5, token, None] for token in prompt],
            },
        }
        for prompt in body["input_ids"]
    ]


class Theatre:
    """Two servers whose answers a test makes up: `answer` gets the server's name and the body of a request."""

    def __init__(self, answer: Callable[[str, Body], Answers], attempts: int = 3, hang_timeout_s: float = 60.0) -> None:
        self.silent: set[str] = set()
        self.servers: dict[str, StandInServer] = {}
        self.asked: list[tuple[str, list[int]]] = []
        self._answer, self._lock = answer, threading.Lock()
        config = SglangConfig(replicas=2, samples_per_request=2, max_running_requests=2, attempts=attempts)
        config.hang_timeout_s = hang_timeout_s
        self.role = RoleServers("solver", self._start, config, NO_WEIGHTS, saves_memory=False)
        self.role.serve_first_weights()

    def run(self, draws: list[Draw]) -> tuple[dict[int, Sample], list[Draw]]:
        batches = batches_of(draws, self.role.config.samples_per_request)
        return Dispatch(self.role, batches, VERSION, [2], context=10).run()

    def _start(self, number: int, attempt: int) -> StandInServer:
        theatre, name = self, f"solver-{number}-a{attempt}"

        class Client(SglangClient):
            def generate(self, body: Body) -> Answers:
                with theatre._lock:
                    theatre.asked.append((name, [prompt[0] for prompt in body["input_ids"]]))
                return theatre._answer(name, body)

            def responds(self, timeout_s: float) -> bool:
                return theatre.servers[name].alive() and name not in theatre.silent

            def abort_all(self) -> None:
                pass

        class Server(StandInServer):
            def client(self, name: str, timeout_s: float) -> SglangClient:
                return Client(name, f"http://{self.name}")

        self.servers[name] = Server(name, [])
        return self.servers[name]


def test_all_servers_draw_and_every_sample_has_its_place() -> None:
    both = threading.Barrier(2, timeout=60)

    def answer(name: str, body: Body) -> Answers:
        if body["input_ids"][0] in ([0], [2]):
            both.wait()  # the first two batches are under way at the same time
        return answers(body)

    theatre = Theatre(answer)
    samples, left = theatre.run(requests(9))
    assert left == []
    assert samples == {i: Sample(f"r{i}", 0, (i,), (i,), (-0.5,), FinishReason.STOP, VERSION.number) for i in range(9)}
    assert sorted(prompts for _, prompts in theatre.asked) == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]
    assert {name for name, prompts in theatre.asked if prompts[0] in (0, 2)} == {"solver-0-a1", "solver-1-a1"}


def test_what_a_server_aborts_is_drawn_again_and_nothing_else() -> None:
    def answer(name: str, body: Body) -> Answers:
        found = answers(body)
        if body["input_ids"] == [[0], [1]]:
            found[1]["meta_info"]["finish_reason"] = {"type": "abort"}
        return found

    theatre = Theatre(answer)
    samples, left = theatre.run(requests(4))
    assert (sorted(samples), left) == ([0, 1, 2, 3], [])
    assert sorted(prompts for _, prompts in theatre.asked) == [[0, 1], [1], [2, 3]]


def test_what_a_dead_server_leaves_goes_to_the_other_and_it_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    def answer(name: str, body: Body) -> Answers:
        if name == "solver-0-a1":
            theatre.servers[name].dead = True
            raise ServerError(f"{name}: generate: disconnected")
        return answers(body)

    theatre = Theatre(answer)
    samples, left = theatre.run(requests(12))
    assert (sorted(samples), left) == (list(range(12)), [])
    assert "solver-0-a2" in theatre.servers
    assert any("its requests go to other servers" in line for line in caplog.messages)
    assert any("solver replica 0" in line and "starting another" in line for line in caplog.messages)


def test_without_a_server_the_draws_that_are_left_come_back() -> None:
    def answer(name: str, body: Body) -> Answers:
        theatre.servers[name].dead = True
        raise ServerError(f"{name}: generate: disconnected")

    theatre = Theatre(answer)
    samples, left = theatre.run(requests(12))
    assert samples == {}
    assert sorted(draw.position for draw in left) == list(range(12))


@pytest.mark.parametrize("fault", ["error", "abort"])
def test_a_batch_that_fails_too_often_is_an_error_that_names_server_and_setting(fault: str) -> None:
    def answer(name: str, body: Body) -> Answers:
        if fault == "abort":
            return answers(body, "abort")
        raise ServerError(f"{name}: generate: HTTP 500")

    theatre = Theatre(answer, attempts=2)
    with pytest.raises(UserError, match=r"solver.*\(2 attempts, rollout\.sglang\.attempts\)"):
        theatre.run(requests(1))
    assert len(theatre.asked) == 2


def test_too_few_answers_are_an_error_that_names_the_server() -> None:
    theatre = Theatre(lambda name, body: answers(body)[1:])
    with pytest.raises(UserError, match=r"solver replica \d .*: 1 answers to 2 requests"):
        theatre.run(requests(2))


HANG_S = 0.6


def test_a_server_that_hangs_is_ended_named_and_replaced_and_no_sample_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def answer(name: str, body: Body) -> Answers:
        if name != "solver-0-a1":
            return answers(body)
        theatre.silent.add(name)
        assert eventually(lambda: theatre.servers[name].stopped)
        raise ServerError(f"{name}: generate: disconnected")

    theatre = Theatre(answer, hang_timeout_s=HANG_S)
    samples, left = theatre.run(requests(12))
    assert (sorted(samples), left) == (list(range(12)), [])
    said = "solver replica 0 (http://solver-0-a1): generate: no sign of life for 0.6 s (rollout.sglang.hang_timeout_s)"
    assert any(line.startswith(said) for line in caplog.messages)
    assert "solver-0-a2" in theatre.servers


def test_a_request_may_take_longer_than_a_server_may_hang() -> None:
    def answer(name: str, body: Body) -> Answers:
        time.sleep(4 * HANG_S)
        return answers(body)

    theatre = Theatre(answer, hang_timeout_s=HANG_S)
    assert sorted(theatre.run(requests(4))[0]) == [0, 1, 2, 3]
    assert set(theatre.servers) == {"solver-0-a1", "solver-1-a1"}


def test_a_score_of_a_server_that_hangs_is_an_error() -> None:
    def answer(name: str, body: Body) -> Answers:
        theatre.silent.add(name)
        assert eventually(lambda: theatre.servers[name].stopped)
        raise ServerError(f"{name}: generate: disconnected")

    theatre = Theatre(answer, hang_timeout_s=HANG_S)
    with pytest.raises(ServerError, match="solver-0-a1: generate"):
        watched_generate(theatre.role.serving()[0], {"input_ids": [[1]]})


def test_units_are_handed_over_whole_and_nothing_is_drawn_once_it_is_enough() -> None:
    theatre = Theatre(lambda _name, body: answers(body))
    draws = requests(40)
    units = [draws[start : start + 4] for start in range(0, 40, 4)]
    arrived: list[tuple[int, list[int]]] = []

    def take(number: int, samples: list[Sample]) -> bool:
        arrived.append((number, [sample.tokens[0] for sample in samples]))
        return len(arrived) < 3

    under_way = UnitsUnderWay(units, take)
    with pytest.raises(Enough):
        Dispatch(theatre.role, batches_of(draws, 3), VERSION, [2], 10, under_way.take).run()
    # A batch may end two units at once.
    assert 3 <= len(arrived) <= 4
    assert all(tokens == list(range(4 * number, 4 * number + 4)) for number, tokens in arrived)
    assert len(theatre.asked) < 14
