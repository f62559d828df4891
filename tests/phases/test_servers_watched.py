"""What servers do, on the timeline and in a step's metrics."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rzero_mega.activity import Activity
from rzero_mega.config import load_config
from rzero_mega.config.placement import Placement, ServerPlace
from rzero_mega.phases import servers_watched
from rzero_mega.phases.servers_watched import ServersWatched, devices_of
from rzero_mega.phases.stopwatch import Stopwatch
from rzero_mega.rollout.sglang.pool.server_work import BusyPeriod
from rzero_mega.rollout.sglang.pool.weight_sender import UpdateCosts
from rzero_mega.run.timeline import Devices, Drawn, Timeline, read_timeline

PLACES = Placement(2, (range(4), range(4)), (ServerPlace(0, 4), ServerPlace(1, 6)), shared_gpus=False)


@pytest.fixture
def watched(tmp_path: Path) -> ServersWatched:
    return ServersWatched(Stopwatch(Timeline(tmp_path / "timeline.jsonl")), PLACES, gpus=2)


def test_figures_are_by_role_and_those_of_a_step_are_taken_once(watched: ServersWatched) -> None:
    watched.updated("challenger", UpdateCosts(send_seconds=1.0, sent_megabytes=500.0))
    watched.updated("solver", UpdateCosts(send_seconds=2.0))
    watched.updated("solver", UpdateCosts(send_seconds=3.0, verify_seconds=0.5))
    watched.drawn([BusyPeriod("challenger", 0, 0.0, 10.0, 5, 4000, 8, 60.0)], now=10.0)
    watched.drawn([BusyPeriod("challenger", 1, 0.0, 30.0, 5, 4000, 8, 180.0)], now=30.0)
    found = watched.take("challenger")
    assert (found["send_seconds"], found["sent_megabytes"], found["verify_seconds"]) == (1.0, 500.0, 0.0)
    assert (found["solver_send_seconds"], found["solver_verify_seconds"]) == (5.0, 0.5)
    assert (found["server_tokens_per_second"], found["slots_used"]) == (200.0, 0.75)
    assert "solver_slots_used" not in found
    # Every step has its own costs, if only nothing.
    assert set(watched.take("challenger")) == {
        "send_seconds", "verify_seconds", "sent_megabytes", "verified_megabytes"
    }  # fmt: skip


def test_a_busy_period_stands_on_the_timeline_with_the_servers_gpus(watched: ServersWatched, tmp_path: Path) -> None:
    before = time.time()
    watched.drawn([BusyPeriod("solver", 1, 90.0, 8.0, 5, 4000, 8, 60.0)], now=100.0)
    (span,) = read_timeline(tmp_path / "timeline.jsonl")
    assert (span.track, span.seconds) == ("solver-1", 8.0)
    assert 0 <= span.began - (before - 10.0) < 60.0
    assert Drawn.of(span) == Drawn(5, 4000, 8, 60.0, node=1, first_gpu=6, gpus=2)


def test_parking_is_one_of_a_steps_costs_and_no_line_where_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopwatch = Stopwatch(Timeline(tmp_path / "timeline.jsonl"))
    watched = ServersWatched(stopwatch, PLACES, gpus=2)
    for least_s in (3600.0, 0.0):
        monkeypatch.setattr(servers_watched, "LEAST_S", least_s)
        with watched.measure(Activity.PARK):
            time.sleep(0.01)
    assert stopwatch.take()["park_seconds"] >= 0.02
    assert [span.name for span in read_timeline(tmp_path / "timeline.jsonl")] == ["park"]


@pytest.mark.parametrize(
    ("engine", "there", "devices"),
    [("sglang", True, Devices(16, 8, 4)), ("embedded", True, Devices(4, 8, 4)), ("sglang", False, Devices(0, 0, 0))],
)
def test_a_phase_has_the_gpus_of_its_nodes(
    engine: str, there: bool, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    config = load_config(["paper", "nano"], ["learner.processes=4", f"rollout.engine={engine}", "placement.nodes=2"])
    assert devices_of(config) == devices
