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

from rzero_mega.coevolution.label_audit import AuditedLabels, LabelAudit
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.run.sealed import write_sealed
from rzero_mega.tracking import WandbRun
from rzero_mega.tracking.label_audits import SUMMARY, audit_folder
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
        self.axes: dict[str, str] = {}
        self.tags: tuple[str, ...] = ()

    def login(self, **_: Any) -> bool:
        return self.key

    def Settings(self, **settings: Any) -> dict[str, Any]:
        return settings

    def Histogram(self, np_histogram: Any) -> Any:
        return np_histogram

    def init(self, mode: str, tags: tuple[str, ...], **_: Any) -> FakeWandb:
        self.tags = tags
        self.modes.append(mode)
        if self.fails == mode:
            raise OSError("no route to host")
        return self

    def Table(self, columns: list[str], data: list[Any]) -> Any:
        assert all(len(row) == len(columns) for row in data)
        return columns, data

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axes[name] = step_metric

    def log(self, values: dict[str, Any], step: int) -> None:
        if self.fails == "log":
            raise RuntimeError("server says no")
        self.history.append((step, values))

    def finish(self) -> None:
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
        sent = [values[f"train/{name}/step"] for _, values in fake.history if f"train/{name}/step" in values]
        assert sent == list(range(1, ITERATIONS * steps + 1))
    accuracy = [(v["iteration"], v["eval/pass1_mean"]) for _, v in fake.history if "eval/pass1_mean" in v]
    assert accuracy == [(0, 0.351), (1, 0.442), (2, 0.487), (3, 0.479)]
    names = {name for _, values in fake.history for name in values}
    assert {"labels/label_accuracy", "labels/kept", "labels/p_hat", "labels/p_hat_mean", "labels/sample"} <= names
    assert {"questions/unique_share", "questions/challenger/p_hat_mean", "perf/seconds/solver"} <= names
    assert {"train/solver/kl", "train/solver/learning_rate", "perf/solver/tokens_per_second"} <= names


def test_every_key_lies_in_a_section_and_on_an_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = _use(monkeypatch, FakeWandb())
    with write_synthetic_run(tmp_path / "run") as run:
        WandbRun(run).finish()
    names = {name for _, values in fake.history for name in values} - {"iteration"}
    assert {name.split("/")[0] for name in names} == {"eval", "gauges", "labels", "questions", "train", "perf"}
    for _, values in fake.history:
        for name in values.keys() - {"iteration"}:
            pattern = max((p for p in fake.axes if name.startswith(p.removesuffix("*"))), key=len)
            assert fake.axes[pattern] in values, name
    assert {"recipe:nano", "model:Qwen3-8B-Base", "preset:smollm2"} & set(fake.tags) == {
        "recipe:nano",
        "model:Qwen3-8B-Base",
    }
    assert any(tag.startswith("version:") for tag in fake.tags) and all(0 < len(tag) <= 64 for tag in fake.tags)


def test_the_table_holds_questions_with_reasons_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = _use(monkeypatch, FakeWandb())
    with write_synthetic_run(tmp_path / "run") as run:
        WandbRun(run).finish()
    tables = [values["labels/sample"] for _, values in fake.history if "labels/sample" in values]
    assert len(tables) == ITERATIONS and all(len(rows) == 40 for _, rows in tables)
    columns, rows = tables[0]
    assert {row[columns.index("dropped because")] for row in rows} >= {None, "p̂ above the band"}
    assert not any("\x1b" in str(cell) or "\u202e" in str(cell) for row in rows for cell in row)


def _audit(run: RunDirectory, right: int) -> None:
    """A model's audit of iteration 2, as `rzero-mega audit` leaves it."""
    labels = run.phase(2, PhaseName.LABELS).artefact("labelled")
    kept = AuditedLabels(400, right=right, wrong=10, unanswerable=3, low=0.7, high=0.85)
    audit = LabelAudit("oracle-1", kept, AuditedLabels(900), ((0.5, kept), (0.9, AuditedLabels(0))), 0.9)
    audit_folder(run, 2).mkdir(exist_ok=True)
    write_sealed(audit_folder(run, 2) / SUMMARY, {"labels": labels.sha256, "audit": audit.as_json()})


def test_a_label_audit_is_sent_once_whenever_it_is_made_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = _use(monkeypatch, FakeWandb())
    with write_synthetic_run(tmp_path / "run") as run:
        tracker = WandbRun(run)
        tracker.sync()
        _audit(run, 40)
        tracker.sync()
        tracker.finish()
        WandbRun(run).finish()
        _audit(run, 50)
        WandbRun(run).finish()
    assert [step for step, _ in fake.history] == list(range(len(fake.history)))
    sent = [values for _, values in fake.history if "labels/oracle/kept/accuracy" in values]
    assert [(v["iteration"], v["labels/oracle/kept/accuracy"]) for v in sent] == [(2, 0.8), (2, 50 / 60)]
    columns, rows = sent[0]["labels/accuracy_by_p_hat"]
    assert rows == [[2, "oracle-1", 0.5, 40, 10, 0.8, 0.7, 0.85]] and len(columns) == len(rows[0])
    exact = [v["labels/audit/kept/low"] for _, v in fake.history if "labels/audit/kept/low" in v]
    paper = [v["labels/paper_label_accuracy"] for _, v in fake.history if "labels/paper_label_accuracy" in v]
    assert len(exact) == ITERATIONS and paper == [0.79, 0.69, 0.63]


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
    assert any(b"train/solver/reward_mean" in log.read_bytes() for log in logs)
    sent = json.loads((path / "wandb" / "sent.json").read_text())
    assert sent["steps"] == {"challenger": ITERATIONS * CHALLENGER_STEPS, "solver": ITERATIONS * SOLVER_STEPS}
    audits = ITERATIONS
    assert len(sent["summaries"]) == 1 + 5 * ITERATIONS + audits
    for file in path.rglob("*"):
        assert not file.is_file() or FAKE_KEY.encode() not in file.read_bytes(), file


def test_tracking_imports_neither_torch_nor_wandb() -> None:
    code = (
        "import sys, rzero_mega.tracking; sys.exit(bool({'torch', 'wandb', 'megatron', 'sglang'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)})
