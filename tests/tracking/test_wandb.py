"""W&B: offline really writes, a resumed run sends each row once, and failing never stops a run."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.run import RunDirectory
from rzero_mega.tracking import WandbRun
from tests import ROOT
from tests.tracking.synthetic import CHALLENGER_STEPS, ITERATIONS, SOLVER_STEPS, synthetic_config, write_synthetic_run

FAKE_KEY = "0123456789abcdef0123456789abcdef01234567"


class FakeWandb:
    """What WandbRun uses of wandb, in memory; a run's history outlives its processes."""

    def __init__(self, fails: str = "", key: bool = False) -> None:
        self.history: list[tuple[int, dict[str, Any]]] = []
        self.modes: list[str] = []
        self.fails, self.key = fails, key
        self.url = None

    def login(self, **_: Any) -> bool:
        return self.key

    def Settings(self, **settings: Any) -> dict[str, Any]:
        return settings

    def Histogram(self, np_histogram: Any) -> Any:
        return np_histogram

    def init(self, mode: str, **_: Any) -> FakeWandb:
        self.modes.append(mode)
        if self.fails == mode:
            raise OSError("no route to host")
        return self

    def define_metric(self, name: str, step_metric: str) -> None:
        assert name.split("/")[0] == step_metric.split("/")[0]

    def log(self, values: dict[str, Any], step: int) -> None:
        if self.fails == "log":
            raise RuntimeError("server says no")
        self.history.append((step, values))

    def finish(self, quiet: bool) -> None:
        pass


def _use(monkeypatch: pytest.MonkeyPatch, fake: FakeWandb) -> FakeWandb:
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return fake


def _reopen(path: Path, *overrides: str) -> RunDirectory:
    return RunDirectory.create_or_open(path, synthetic_config(*overrides), writer=True)


def test_steps_grow_over_kills_and_no_row_is_sent_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = _use(monkeypatch, FakeWandb())
    for phases in (0, 1, 4, 6, 9, 14, 16):
        with write_synthetic_run(tmp_path / "run", phases, half_next=True) as run:
            tracker = WandbRun(run)
            tracker.sync()
        # The process dies here: no finish. The next one does the half phase again, from its first step.
        for phase in _reopen_and_list(tmp_path / "run"):
            if phase.manifest() is None and phase.metrics_path.exists():
                phase.metrics_path.unlink()
    assert [step for step, _ in fake.history] == list(range(len(fake.history)))
    for name, steps in (("challenger", CHALLENGER_STEPS), ("solver", SOLVER_STEPS)):
        sent = [values[f"{name}/step"] for _, values in fake.history if f"{name}/step" in values]
        assert sent == list(range(1, ITERATIONS * steps + 1))
    accuracy = [(v["iteration"], v["iteration/pass1_mean"]) for _, v in fake.history if "iteration/pass1_mean" in v]
    assert accuracy == [(0, 0.351), (1, 0.442), (2, 0.487), (3, 0.479)]
    names = {name for _, values in fake.history for name in values}
    wanted = {"label_accuracy", "kept_questions", "p_hat", "p_hat_mean", "unique_share", "challenger_difficulty"}
    assert {f"iteration/{name}" for name in wanted} <= names
    assert {"challenger/p_hat_mean", "solver/kl", "solver/entropy", "solver/tokens_per_second"} <= names


def _reopen_and_list(path: Path) -> list[Any]:
    return list(RunDirectory.open_existing(path).phases())


def test_failing_warns_once_and_never_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _use(monkeypatch, FakeWandb(fails="log"))
    with caplog.at_level(logging.WARNING), write_synthetic_run(tmp_path / "run", 3) as run:
        tracker = WandbRun(run)
        for _ in range(3):
            tracker.sync()
        tracker.finish()
    assert [record.getMessage() for record in caplog.records] == [
        "W&B is off for the rest of this process: server says no"
    ]


def test_a_missing_package_warns_and_never_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with write_synthetic_run(tmp_path / "run", 1) as run:
        tracker = WandbRun(run)
        tracker.sync()
        assert not tracker.active
    assert len(caplog.records) == 1


def test_a_malformed_memory_warns_and_never_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _use(monkeypatch, FakeWandb())
    with write_synthetic_run(tmp_path / "run", 1) as run:
        (run.path / "wandb").mkdir()
        (run.path / "wandb" / "sent.json").write_text('{"other": 1}')
        assert not WandbRun(run).active
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("setting", "key", "environment", "modes"),
    [
        ("auto", False, None, ["offline"]),
        ("auto", True, None, ["online"]),
        ("auto", True, "offline", ["offline"]),
        ("auto", True, "disabled", []),
        ("online", False, None, ["offline"]),
        ("offline", True, None, ["offline"]),
        ("disabled", True, None, []),
    ],
)
def test_the_mode_follows_setting_key_and_environment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    key: bool,
    environment: str | None,
    modes: list[str],
) -> None:
    fake = _use(monkeypatch, FakeWandb(key=key))
    if environment is not None:
        monkeypatch.setenv("WANDB_MODE", environment)
    with _reopen(tmp_path / "run", f"tracking.wandb={setting}") as run:
        assert WandbRun(run).active == bool(modes)
    assert fake.modes == modes


def test_an_unreachable_server_leads_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = _use(monkeypatch, FakeWandb(fails="online", key=True))
    with _reopen(tmp_path / "run", "tracking.wandb=auto") as run:
        assert WandbRun(run).active
    assert fake.modes == ["online", "offline"]


def test_offline_really_writes_and_keeps_the_key_out_of_every_file(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    script = """
import sys
from pathlib import Path
from tests.tracking.synthetic import write_synthetic_run
from rzero_mega.tracking import WandbRun
with write_synthetic_run(Path(sys.argv[1]), int(sys.argv[2])) as run:
    tracker = WandbRun(run)
    assert tracker.active
    tracker.finish()
    print(run.info.wandb_id)
"""
    path = tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_API_KEY": FAKE_KEY}
    identifiers = set()
    for phases in ("3", "16"):
        done = subprocess.run(
            [sys.executable, "-c", script, str(path), phases],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        identifiers.add(done.stdout.strip())
        assert FAKE_KEY not in done.stdout + done.stderr
    assert len(identifiers) == 1
    logs = list(path.glob(f"wandb/offline-run-*/run-{identifiers.pop()}.wandb"))
    assert len(logs) == 2
    assert any(b"solver/reward_mean" in log.read_bytes() for log in logs)
    sent = json.loads((path / "wandb" / "sent.json").read_text())
    assert sent["steps"] == {"challenger": ITERATIONS * CHALLENGER_STEPS, "solver": ITERATIONS * SOLVER_STEPS}
    assert len(sent["summaries"]) == 1 + 5 * ITERATIONS
    for file in path.rglob("*"):
        assert not file.is_file() or FAKE_KEY.encode() not in file.read_bytes(), file


def test_tracking_imports_neither_torch_nor_wandb() -> None:
    code = (
        "import sys, rzero_mega.tracking; sys.exit(bool({'torch', 'wandb', 'megatron', 'sglang'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)})
