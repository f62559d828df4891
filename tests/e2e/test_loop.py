"""The whole loop at a tiny size: what a run leaves, and what the commands say of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rzero_mega.config import config_from_yaml
from tests.e2e.command import Undisturbed, run, start, tiny
from tests.tracking.trace_format import check_trace

pytestmark = [pytest.mark.e2e, pytest.mark.gloo]


@pytest.fixture
def folder(undisturbed: Undisturbed) -> Path:
    return undisturbed.folder


def test_status_tells_accuracy_and_seconds_of_every_iteration(folder: Path) -> None:
    result = run(folder, "status", "--json")
    status = json.loads(result.stdout)
    base, first = status["iterations"]
    assert status["state"] == "finished"
    assert 0 < base["pass1_mean"] < 1 and 0 < first["pass1_mean"] < 1
    assert 0 <= first["label_accuracy"] <= 1
    assert 0 < first["kept_questions"] <= 60
    assert set(first["seconds"]) == {"challenger", "questions", "labels", "solver", "evaluate"}


def test_the_report_is_one_page_without_outside_requests(folder: Path) -> None:
    page = (folder / "runs" / "undisturbed" / "report.html").read_text()
    assert "<svg" in page
    assert "src=" not in page and "@import" not in page and "<script" not in page


def test_the_trace_has_every_phase_and_step(folder: Path) -> None:
    result = run(folder, "trace", "--output", "trace.json")
    assert result.returncode == 0, result.stderr
    trace = check_trace(json.loads((folder / "trace.json").read_text()))
    tracks = {event["tid"]: event["args"]["name"] for event in trace if event["name"] == "thread_name"}
    on = {
        track: [e["name"] for e in trace if e["ph"] == "X" and tracks[e["tid"]] == track] for track in tracks.values()
    }
    assert on["phases"] == ["evaluate 0", "challenger 1", "questions 1", "labels 1", "solver 1", "evaluate 1"]
    assert len(on["steps"]) == 5 and {"generate", "reward", "train", "update", "checkpoint"} <= set(on["main"])


def test_finished_phases_are_skipped(folder: Path) -> None:
    manifest = folder / "runs" / "undisturbed" / "iterations" / "1" / "solver" / "manifest.json"
    before = manifest.read_bytes()
    result = run(folder, *tiny("undisturbed", processes=2))
    assert result.returncode == 0 and "finished before" in result.stdout
    assert manifest.read_bytes() == before


def test_the_models_load_in_transformers(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = folder / "runs" / "undisturbed" / "iterations" / "1" / "solver" / "model"
    tokenizer = AutoTokenizer.from_pretrained(model)
    prompt = tokenizer("Q:3+4\nA:", return_tensors="pt")
    out = AutoModelForCausalLM.from_pretrained(model).generate(**prompt, max_new_tokens=4)
    assert out.shape[1] > 4


def test_no_label_reaches_training_from_the_truth(folder: Path) -> None:
    labels = folder / "runs" / "undisturbed" / "iterations" / "1" / "labels"
    kept = [json.loads(line) for line in (labels / "dataset.jsonl").read_text().splitlines()]
    audited = [json.loads(line) for line in (labels / "labelled.jsonl").read_text().splitlines()]
    votes = {row["question"]: row["answer"] for row in audited}
    assert kept and all(set(row) == {"question", "answer"} and votes[row["question"]] == row["answer"] for row in kept)


@pytest.mark.parametrize(
    "ablation",
    ["no_filter", *(pytest.param(name, marks=pytest.mark.slow) for name in ("untrained_challenger", "no_repetition"))],
)
def test_every_ablation_runs_and_changes_what_it_says(tmp_path: Path, ablation: str) -> None:
    result = run(tmp_path, *tiny(ablation), "--ablation", ablation)
    assert result.returncode == 0, result.stderr
    iteration = tmp_path / "runs" / ablation / "iterations" / "1"
    labels = json.loads((iteration / "labels" / "manifest.json").read_text())["summary"]
    config = config_from_yaml(tmp_path / "runs" / ablation / "config.yaml")
    assert (iteration / "challenger").exists() == config.challenger.train == (ablation != "untrained_challenger")
    if ablation == "no_filter":
        assert (config.labels.curation.low, config.labels.curation.high) == (0.0, 1.0)
        assert labels["dropped"]["below_band"] == labels["dropped"]["above_band"] == 0
    if ablation == "no_repetition":
        assert config.challenger.reward.repetition.weight == 0.0
        assert json.loads((iteration / "challenger" / "manifest.json").read_text())["summary"]["repetition_mean"] == 0


@pytest.mark.parametrize("layout", ["tp", pytest.param("pp", marks=pytest.mark.slow)])
def test_the_loop_runs_under_torchrun_with_the_model_cut(tmp_path: Path, layout: str) -> None:
    arguments = tiny(layout, f"learner.layout.{layout}=2", processes=2)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [*command, "-m", "rzero_mega", *arguments],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    manifest = json.loads((tmp_path / "runs" / layout / "iterations" / "1" / "solver" / "manifest.json").read_text())
    assert manifest["summary"]["grad_norm"] > 0


def test_ctrl_c_is_one_line_and_leaves_no_process(tmp_path: Path) -> None:
    process = start(tmp_path, *tiny("x", "solver.training.steps=500", processes=2))
    metrics = tmp_path / "runs" / "x" / "iterations" / "1" / "solver" / "metrics.jsonl"
    while not metrics.exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines() == ["rzero-mega: interrupted; the same command goes on from here"]
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
