"""Servers of two roles on the same GPUs: who holds memory when."""

from __future__ import annotations

from typing import Any

import pytest

from rzero_mega.config.schema import SglangConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.pool import choices
from rzero_mega.rollout.sglang.pool.choices import check_room_for_roles
from rzero_mega.rollout.sglang.pool.role_servers import ReplicaState, RoleServers
from rzero_mega.rollout.sglang.pool.turns import EVERYTHING, WEIGHTS, rest, take_turn
from tests.rollout.sglang.stand_in import NO_WEIGHTS, StandInServer, roles_awake

ALL = ["cuda_graph", "kv_cache", "weights"]


class Stage:
    """Two servers of each of two roles, ready, and what they were asked for."""

    def __init__(self, saves_memory: bool = True) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.servers: dict[str, StandInServer] = {}
        self.roles: dict[str, RoleServers] = {}
        for role in ("challenger", "solver"):
            self.bring_up(role, saves_memory)

    def bring_up(self, role: str, saves_memory: bool) -> None:
        def start(number: int, attempt: int) -> StandInServer:
            name = f"{role}-{number}-a{attempt}"
            self.servers[name] = StandInServer(name, self.calls)
            return self.servers[name]

        self.take(role)
        self.roles[role] = RoleServers(role, start, SglangConfig(replicas=2), NO_WEIGHTS, saves_memory)
        self.roles[role].serve_first_weights()

    def take(self, role: str, needed: frozenset[str] = EVERYTHING) -> None:
        take_turn(self.roles, role, needed)

    def rest(self) -> None:
        rest(self.roles.values())

    def awake(self) -> set[str]:
        return roles_awake(self.roles)

    def memory_calls(self) -> list[tuple[str, str, list[str]]]:
        """(server, release or resume, tags) since the last look, sorted within each."""
        found = [(name, path, body["tags"]) for name, path, body in self.calls if path.endswith("memory_occupation")]
        self.calls.clear()
        return [(name, path.partition("_")[0], tags) for name, path, tags in sorted(found)]


@pytest.fixture
def stage() -> Stage:
    found = Stage()
    found.memory_calls()
    return found


def test_servers_of_a_role_that_starts_find_those_of_others_asleep() -> None:
    stage = Stage()
    assert stage.awake() == {"solver"}
    order = [(name, path) for name, path, _ in stage.calls]
    released = max(order.index((f"challenger-{n}-a1", "release_memory_occupation")) for n in (0, 1))
    assert released < order.index(("solver-0-a1", "(ready)"))


def test_a_turn_puts_the_others_to_sleep_before_it_wakes_its_own(stage: Stage) -> None:
    stage.take("challenger")
    order = [(name.partition("-")[0], path.partition("_")[0]) for name, path, _ in stage.calls]
    assert order[-2:] == [("challenger", "resume")] * 2
    assert stage.memory_calls() == [
        ("challenger-0-a1", "resume", ALL),
        ("challenger-1-a1", "resume", ALL),
        ("solver-0-a1", "release", ALL),
        ("solver-1-a1", "release", ALL),
    ]
    assert stage.awake() == {"challenger"}


def test_roles_that_are_awake_together_leave_each_other_what_they_have(stage: Stage) -> None:
    take_turn(stage.roles, "challenger", together=True)
    assert stage.awake() == {"challenger", "solver"}
    assert {path for _, path, _ in stage.memory_calls()} == {"resume"}
    stage.rest()
    assert stage.awake() == set()


def test_roles_together_on_a_gpu_need_their_memory_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    check_room_for_roles(SglangConfig(roles="together"))
    monkeypatch.setattr(choices, "device_of_servers", lambda: "cuda")
    check_room_for_roles(SglangConfig())
    check_room_for_roles(SglangConfig(roles="together", extra_arguments=["--mem-fraction-static=0.4"]))
    with pytest.raises(UserError, match=r"rollout\.sglang\.roles: together .*--mem-fraction-static=0\.4"):
        check_room_for_roles(SglangConfig(roles="together"))


def test_a_server_is_idle_before_it_gives_memory_back(stage: Stage) -> None:
    stage.rest()
    for name in ("solver-0-a1", "solver-1-a1"):
        assert [path for server, path, _ in stage.calls if server == name] == [
            "flush_cache?timeout=60",
            "release_memory_occupation",
        ]


def test_who_has_the_turn_may_take_it_again_and_who_rests_may_rest_again(stage: Stage) -> None:
    stage.take("solver")
    assert stage.memory_calls() == []
    stage.rest()
    stage.memory_calls()
    stage.rest()
    assert stage.memory_calls() == [] and stage.awake() == set()


def test_an_update_wakes_the_weights_and_what_follows_the_rest(stage: Stage) -> None:
    stage.rest()
    stage.memory_calls()
    stage.take("solver", WEIGHTS)
    assert stage.memory_calls() == [("solver-0-a1", "resume", ["weights"]), ("solver-1-a1", "resume", ["weights"])]
    stage.take("solver")
    assert {tuple(tags) for _, _, tags in stage.memory_calls()} == {("cuda_graph", "kv_cache")}
    stage.take("challenger", WEIGHTS)
    stage.memory_calls()
    stage.rest()
    assert [call for call in stage.memory_calls() if "challenger" in call[0]] == [
        ("challenger-0-a1", "release", ["weights"]),
        ("challenger-1-a1", "release", ["weights"]),
    ]


def test_a_server_that_was_replaced_while_others_sleep_is_awake_and_sleeps_with_its_role(stage: Stage) -> None:
    stage.servers["solver-1-a1"].dead = True
    stage.roles["solver"].admit()
    stage.memory_calls()
    stage.take("solver")
    assert stage.memory_calls() == []
    stage.take("challenger")
    released = [name for name, what, _ in stage.memory_calls() if what == "release"]
    assert released == ["solver-0-a1", "solver-1-a2"]


def test_a_server_that_still_starts_is_waited_for_before_it_gives_memory_back(stage: Stage) -> None:
    stage.servers["solver-1-a1"].dead = True
    stage.roles["solver"].admit()
    assert stage.roles["solver"].all()[1].state is ReplicaState.STARTING
    stage.calls.clear()
    stage.rest()
    paths = [path for name, path, _ in stage.calls if name == "solver-1-a2"]
    assert paths == ["(ready)", "flush_cache?timeout=60", "release_memory_occupation"]


def test_a_dead_server_is_asked_for_nothing_and_replaced_at_its_role_s_next_turn(stage: Stage) -> None:
    stage.servers["solver-0-a1"].dead = True
    stage.rest()
    stage.take("solver")
    assert {name for name, _, _ in stage.memory_calls()} == {"solver-1-a1"}
    stage.roles["solver"].admit()
    assert stage.roles["solver"].all()[0].released == frozenset()
    assert "solver-0-a2" in stage.servers


@pytest.mark.parametrize("path", ["flush_cache?timeout=60", "release_memory_occupation", "resume_memory_occupation"])
def test_a_server_that_fails_its_turn_is_ended_and_replaced(
    stage: Stage, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage.servers["solver-0-a1"].failing.add(path)
    stage.rest()
    stage.take("solver")
    assert stage.servers["solver-0-a1"].stopped and not stage.servers["solver-1-a1"].stopped
    assert any("solver-0-a1" in line and "the server is ended" in line for line in caplog.messages)
    stage.roles["solver"].admit()
    assert stage.roles["solver"].all()[0].server is stage.servers["solver-0-a2"]


def test_without_a_memory_saver_the_account_is_the_same_and_servers_are_left_alone() -> None:
    stage = Stage(saves_memory=False)
    stage.take("challenger", WEIGHTS)
    assert stage.awake() == {"challenger"}
    assert {replica.released for replica in stage.roles["challenger"].all()} == {EVERYTHING - WEIGHTS}
    stage.rest()
    assert stage.awake() == set()
    assert stage.memory_calls() == []


def test_a_server_that_does_not_get_ready_in_time_is_ended_rather_than_left_to_take_memory_later(stage: Stage) -> None:
    stage.servers["solver-1-a1"].dead = True
    stage.roles["solver"].admit()
    slow = stage.servers["solver-1-a2"]
    slow.starts = False
    stage.rest()
    assert slow.stopped
    with pytest.raises(UserError, match="ended 3 times"):
        for _ in range(3):
            stage.roles["solver"].replace(stage.roles["solver"].all()[1])
