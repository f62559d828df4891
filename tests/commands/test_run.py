"""What `run` does before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from rzero_mega.commands import run, start
from rzero_mega.config import config_from_yaml, load_config
from rzero_mega.errors import UserError
from rzero_mega.run.launch import STORE, FirstDeath


def test_a_dry_run_is_a_configuration_with_the_plan_as_comments(tmp_path: Path) -> None:
    config = load_config(["paper", "nano"], ["iterations=1", "run.name=mine", "challenger.train=false"])
    text = run.plan_text(config)
    (tmp_path / "config.yaml").write_text(text)
    assert config_from_yaml(tmp_path / "config.yaml") == config
    assert [line for line in text.splitlines() if line.startswith("# ")] == [
        "# run directory: runs/mine",
        "# 0/evaluate: base -> scores",
        "# 1/questions: base -> questions",
        "# 1/labels: base, 1/questions/questions -> dataset",
        "# 1/solver: base, 1/labels/dataset -> model",
        "# 1/evaluate: 1/solver/model -> scores",
    ]


def test_what_can_be_checked_is_checked_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    config = load_config(["paper", "nano"], [f"evaluation.benchmarks=[{tmp_path / 'missing.jsonl'}]"])
    with pytest.raises(UserError, match=r"missing\.jsonl"):
        start.start(config, lambda _stop: pytest.fail("started"))


def test_one_process_does_the_work_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    done: list[bool] = []
    config = load_config(["paper", "nano"], ["learner.processes=1"])
    start.start(config, lambda stop: done.append(stop.requested))
    assert done == [False]


def test_several_processes_are_started_and_the_first_failure_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(start, "launch", lambda arguments, processes, *_: FirstDeath(1, 10 + processes))
    left: list[int] = []
    monkeypatch.setattr(start, "leave", left.append)
    start.spread(load_config(["paper", "nano"], ["learner.processes=2"]), lambda _stop: pytest.fail("done here"))
    assert left == [12]


def test_a_rank_does_the_work_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", STORE: "/nowhere/store"}.items():
        monkeypatch.setenv(name, value)
    done: list[bool] = []
    start.start(load_config(["paper", "nano"], ["learner.processes=2"]), lambda stop: done.append(stop.requested))
    assert done == [False]
