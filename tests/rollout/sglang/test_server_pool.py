"""Servers of a run outlive the models that they were started on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.assets import nano_base_path
from rzero_mega.config.placement import Placement, ServerPlace
from rzero_mega.config.schema import RolloutConfig, SglangConfig, VerifyConfig, WeightsConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.pool import server_pool
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.rollout.sglang.server.command import ServerSpec
from tests.rollout.sglang.stand_in import StandInServer


def test_a_server_is_replaced_though_the_model_that_its_role_began_with_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[StandInServer, ServerSpec]] = []

    def start(name: str, attempt: int, spec: ServerSpec, *_: Any) -> StandInServer:
        missing = [file.name for file in spec.model.iterdir() if not file.exists()]
        assert not missing and (spec.model / "model.safetensors").exists()
        started.append((StandInServer(f"{name}-a{attempt}", []), spec))
        return started[-1][0]

    monkeypatch.setattr(server_pool, "start_server", start)
    placement = Placement(1, (range(1),), (ServerPlace(0, 0),), shared_gpus=False)
    rollout = RolloutConfig(engine="sglang", dtype="float32", sglang=SglangConfig(replicas=1))
    pool = ServerPool(
        rollout, WeightsConfig(verify=VerifyConfig(checksums_every=0)), placement, None, tmp_path / "logs"
    )
    models = [Path(shutil.copytree(nano_base_path(), tmp_path / f"model-{number}")) for number in (1, 2)]
    for model in models:
        pool.engine("solver", model)
    assert [server.name for server, _ in started] == ["solver-0-a1"]

    shutil.rmtree(models[0])
    started[0][0].dead = True
    assert pool.roles["solver"].admit()
    (_, first), (second, again) = started
    assert second.name == "solver-0-a2" and again == first
    assert (again.model / "model.safetensors").resolve() == models[1] / "model.safetensors"


def test_servers_start_while_others_work_and_are_waited_for_when_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str, dict[str, Any]]] = []
    server = StandInServer("solver-0", calls, starts=False)
    monkeypatch.setattr(server_pool, "start_server", lambda *_: server)
    placement = Placement(1, (range(1),), (ServerPlace(0, 0),), shared_gpus=False)
    weights = WeightsConfig(verify=VerifyConfig(checksums_every=0))
    pool = ServerPool(RolloutConfig(engine="sglang", dtype="float32"), weights, placement, None, tmp_path / "logs")
    engine = pool.engine("solver", nano_base_path(), wait=False)
    assert pool.apart and calls == []

    server.starts = True
    engine.prepare()
    engine.prepare()
    assert calls == [("solver-0", "(ready)", {})]
    assert pool.roles["solver"].serving() and not pool.roles["solver"].waiting()


def test_servers_that_do_not_start_end_the_first_call_that_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_pool, "start_server", lambda *_: StandInServer("solver-0", [], starts=False))
    placement = Placement(1, (range(1),), (ServerPlace(0, 0),), shared_gpus=False)
    rollout = RolloutConfig(engine="sglang", dtype="float32")
    pool = ServerPool(rollout, WeightsConfig(), placement, None, tmp_path / "logs")
    engine = pool.engine("solver", nano_base_path(), wait=False)
    with pytest.raises(UserError, match="solver-0 did not start"):
        engine.prepare()
