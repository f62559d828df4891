"""What is saved is what ran: with every ablation, run directory, W&B and report hold the values that are used."""

from __future__ import annotations

import html
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rzero_mega.config import Config, ablation_names, config_from_yaml, load_config, to_yaml
from rzero_mega.run import RunDirectory
from rzero_mega.tracking import WandbRun, run_status, write_report
from rzero_mega.tracking.report_data import gather
from rzero_mega.tracking.status import diagnostic_lines

USED: dict[str, dict[str, Any]] = {
    "no_filter": {"labels.curation.low": 0.0, "labels.curation.high": 1.0},
    "no_repetition": {"challenger.reward.repetition.weight": 0.0},
    "untrained_challenger": {"challenger.train": False},
    "true_labels": {"labels.label": "truth"},
    "no_checks": {
        "challenger.reward.unanswered_counts_as_doubt": True,
        "challenger.reward.repetition.mask_numbers": False,
        "labels.curation.near_duplicates.drop": False,
        "labels.curation.maximum_per_template": None,
        "checks.several_questions": False,
        "checks.no_majority": False,
    },
}


def configuration(ablation: str) -> Config:
    """Nano with everything that `hardened` adds, so that each ablation has something to take away."""
    settings = [f"ablation={ablation}", "tracking.wandb=offline", "run.minimum_free_mb=0"]
    return load_config(["paper", "nano", "hardened"], settings)


def at(config: dict[str, Any], key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = value[name]
    return value


def test_every_ablation_is_asked_about() -> None:
    assert sorted(USED) == ablation_names()


@pytest.mark.parametrize("ablation", USED)
def test_run_directory_wandb_and_report_hold_the_values_that_are_used(
    ablation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []
    active = SimpleNamespace(define_metric=lambda *_, **__: None, finish=lambda: None)

    def init(**given: Any) -> SimpleNamespace:
        started.append(given)
        return active

    fake = SimpleNamespace(Settings=dict, init=init)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_MODE", "offline")
    path = tmp_path / "run"
    with RunDirectory.create_or_open(path, configuration(ablation), writer=True) as run:
        WandbRun(run).finish()
        write_report(run, path / "report.html")
    saved, shown = config_from_yaml(path / "config.yaml"), gather(RunDirectory.open_existing(path)).config
    assert saved == shown == configuration(ablation)
    (sent,) = [given["config"] for given in started]
    (tags,) = [given["tags"] for given in started]
    # Trained on the truth, a run is not what the method can do, and says so wherever it is shown.
    diagnostic = ablation == "true_labels"
    assert ("diagnostic:true_labels" in tags) == diagnostic
    assert bool(diagnostic_lines(run_status(RunDirectory.open_existing(path)))) == diagnostic
    assert ("This run is a diagnostic" in (path / "report.html").read_text(encoding="utf-8")) == diagnostic
    assert sent == asdict(saved)
    for key, value in USED[ablation].items():
        assert at(sent, key) == value, key
        assert at(asdict(load_config(["paper", "nano", "hardened"])), key) != value, key
    report = html.unescape((path / "report.html").read_text(encoding="utf-8"))
    assert to_yaml(saved) in report and f"ablation {ablation}" in report
