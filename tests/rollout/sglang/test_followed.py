"""Two roles' servers at work at the same time: the second is asked about what the first one says, as it says it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from rzero_mega.config.schema import SamplingConfig, SglangConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import Request, Sample
from rzero_mega.rollout.sglang.pool.dispatch import Dispatch, Taken
from rzero_mega.rollout.sglang.pool.followed import FollowedDraws
from rzero_mega.rollout.sglang.pool.role_servers import RoleServers
from rzero_mega.rollout.sglang.pool.wire import Version
from rzero_mega.weights.transports.protocol import ServerError
from tests.rollout.sglang.stand_in import NO_WEIGHTS, ScriptedServer

Body = Mapping[str, Any]
Events = AsyncIterator[dict[str, Any]]
VERSIONS = {role: Version(0, f"{role}-1-0") for role in ("challenger", "solver")}
PATIENCE_S, CONTEXT, VOTES = 60, 50, 2


def event(name: str, body: Body, index: int) -> dict[str, Any]:
    """The prompt's first token is what a challenger says, and that plus 100 what a solver does."""
    role, (token, *_) = name.partition("-")[0], body["input_ids"][index]
    said = token + 100 * (role == "solver")
    return {
        "index": index,
        "output_ids": [said],
        "meta_info": {
            "finish_reason": {"type": "stop"},
            "weight_versions": [{"version": VERSIONS[role].on_server}],
            "output_token_logprobs": [[-0.5, said, None]],
        },
    }


async def in_turn(name: str, body: Body) -> Events:
    for index in range(len(body["input_ids"])):
        yield event(name, body, index)


class TwoRoles:
    """Two servers of each role, whose answers a test makes up."""

    def __init__(self, answer: Callable[[str, Body], Events] = in_turn) -> None:
        self.answer, self.servers, self.aborted = answer, dict[str, ScriptedServer](), list[str]()
        self.asked: list[tuple[str, list[int]]] = []
        self.roles = {role: self._role(role) for role in VERSIONS}

    def _role(self, role: str) -> RoleServers:
        config = SglangConfig(replicas=2, max_running_requests=4)
        servers = RoleServers(role, lambda n, a: self._start(f"{role}-{n}-a{a}"), config, NO_WEIGHTS, False)
        servers.serve_first_weights()
        return servers

    def _start(self, name: str) -> ScriptedServer:
        def answers(body: Body) -> Events:
            self.asked.append((name, [prompt[0] for prompt in body["input_ids"]]))
            return self.answer(name, body)

        self.servers[name] = ScriptedServer(name, answers, lambda: True, lambda: self.aborted.append(name))
        return self.servers[name]

    def dies(self, name: str) -> ServerError:
        return self.servers[name].dies()

    def dispatch(self, role: str) -> Callable[..., Dispatch]:
        def build(draws: Any, taken: Taken, more_follow: bool) -> Dispatch:
            return Dispatch(self.roles[role], draws, VERSIONS[role], [2], CONTEXT, taken, more_follow)

        return build

    def draw(self, draws: FollowedDraws) -> bool:
        return draws.draw(self.dispatch("challenger"), self.dispatch("solver"))


def follow(position: int, sample: Sample) -> Request | None:
    """Votes on what the first role says, unless it is a multiple of three."""
    (said,) = sample.tokens
    return None if said % 3 == 0 else Request(f"votes/{position}", (said, 7), VOTES, SamplingConfig())


def followed(count: int) -> FollowedDraws:
    requests = [Request(f"r{i}", (i,), 1, SamplingConfig()) for i in range(count)]
    return FollowedDraws(requests, follow, CONTEXT)


def check(draws: FollowedDraws, count: int) -> None:
    """Everything is there, once, and at its place."""
    assert [tuple(sample.tokens) for sample in draws.samples()] == [(i,) for i in range(count)]
    found = draws.following()
    assert sorted(found) == [i for i in range(count) if i % 3]
    for about, votes in found.items():
        assert [(vote.key, vote.index, tuple(vote.tokens)) for vote in votes] == [
            (f"votes/{about}", index, (about + 100,)) for index in range(VOTES)
        ]


def test_what_follows_is_asked_while_the_first_role_still_draws() -> None:
    async def answer(name: str, body: Body) -> Events:
        for index, prompt in enumerate(body["input_ids"]):
            if prompt == [0]:  # the last to be said
                continue
            yield event(name, body, index)
            voted[0] += name.startswith("solver")
        if [0] in body["input_ids"]:
            async with asyncio.timeout(PATIENCE_S):
                while voted[0] < 2 * VOTES:
                    await asyncio.sleep(0)
            yield event(name, body, body["input_ids"].index([0]))

    voted = [0]
    stage, draws = TwoRoles(answer), followed(12)
    assert not stage.draw(draws)
    check(draws, 12)


def test_votes_on_a_question_stay_with_one_server() -> None:
    stage, draws = TwoRoles(), followed(12)
    stage.draw(draws)
    asked = {(name, token) for name, tokens in stage.asked for token in tokens if name.startswith("solver")}
    assert len(asked) == len({token for _, token in asked}) == 8


def test_nothing_follows_where_nothing_is_asked() -> None:
    stage, draws = TwoRoles(), followed(1)
    assert not stage.draw(draws)
    check(draws, 1)
    assert all(name.startswith("challenger") for name, _ in stage.asked)


@pytest.mark.parametrize("role", VERSIONS)
def test_a_server_that_dies_in_the_middle_of_the_stream_loses_nothing_and_nothing_counts_twice(role: str) -> None:
    async def answer(name: str, body: Body) -> Events:
        if name == f"{role}-0-a1":
            yield event(name, body, 0)
            raise stage.dies(name)
        async for said in in_turn(name, body):
            yield said

    stage, draws = TwoRoles(answer), followed(12)
    assert not stage.draw(draws)
    check(draws, 12)
    assert f"{role}-0-a2" in stage.servers


@pytest.mark.parametrize("role", VERSIONS)
def test_without_a_server_left_of_a_role_the_rest_waits_for_the_next_turn(role: str) -> None:
    async def answer(name: str, body: Body) -> Events:
        if name.startswith(role) and name.endswith("a1"):
            if role == "challenger":
                yield event(name, body, 0)
            raise stage.dies(name)
        async for said in in_turn(name, body):
            yield said

    stage, draws = TwoRoles(answer), followed(12)
    assert stage.draw(draws)
    stage.roles[role].admit()
    for replica in stage.roles[role].waiting():
        replica.state = type(replica.state).SERVING
    assert not stage.draw(draws)
    check(draws, 12)


@pytest.mark.parametrize("role", VERSIONS)
def test_what_one_role_s_server_does_wrong_is_named_and_both_roles_drop_their_work(role: str) -> None:
    async def answer(name: str, body: Body) -> Events:
        async for said in in_turn(name, body):
            if name.startswith(role):
                said["meta_info"]["weight_versions"][0]["version"] = "other-1-7"
            yield said

    stage = TwoRoles(answer)
    with pytest.raises(UserError, match=rf"{role} replica \d .*drawn with weights other-1-7 and not {role}-1-0"):
        stage.draw(followed(12))
    assert {name.partition("-")[0] for name in stage.aborted} >= {role}


def test_an_error_of_whoever_decides_what_follows_ends_both() -> None:
    def refuses(_position: int, _sample: Sample) -> Request | None:
        raise UserError("no such question")

    requests = [Request("r", (1,), 1, SamplingConfig())]
    with pytest.raises(UserError, match="no such question"):
        TwoRoles().draw(FollowedDraws(requests, refuses, CONTEXT))


def test_a_prompt_that_does_not_fit_is_refused_by_its_key() -> None:
    def long(_position: int, _sample: Sample) -> Request | None:
        return Request("votes/0", (1,) * CONTEXT, 1, SamplingConfig())

    with pytest.raises(UserError, match="votes/0"):
        TwoRoles().draw(FollowedDraws([Request("r", (1,), 1, SamplingConfig())], long, CONTEXT))
