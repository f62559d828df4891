"""What a user can get wrong: one line that says what to do, exit code 2, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rzero_mega.assets import nano_base_path
from tests.e2e.command import Undisturbed, final_weights, run, start, tiny

pytestmark = pytest.mark.e2e


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.returncode == 2, result.stderr
    assert len(lines) == 1 and lines[0].startswith("rzero-mega: "), result.stderr
    for word in words:
        assert word in lines[0]


def test_an_unknown_key_is_named_with_a_suggestion(tmp_path: Path) -> None:
    refused(
        run(tmp_path, "run", "nano", "learner.layout.tpp=2"), "learner.layout.tpp", "did you mean learner.layout.tp?"
    )
    assert not (tmp_path / "runs").exists()


def test_an_impossible_value_is_named(tmp_path: Path) -> None:
    refused(run(tmp_path, "run", "nano", "labels.curation.low=0.9"), "labels.curation.low")


def test_an_unknown_recipe_is_named_with_those_that_exist(tmp_path: Path) -> None:
    refused(run(tmp_path, "run", "nanno"), "nanno", "nano")


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    refused(run(tmp_path, *tiny("x", "model.path=/no/such/model")), "/no/such/model")
    assert not (tmp_path / "runs" / "x").exists()


def test_a_family_that_is_not_supported_is_named(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(nano_base_path(), model)
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    (model / "config.json").write_text(json.dumps(config))
    refused(run(tmp_path, *tiny("x", f"model.path={model}")), "gpt2", "qwen3")


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (("learner.processes=3", "learner.layout.tp=3"), "learner.layout.tp"),
        (("learner.processes=3", "learner.layout.pp=3"), "learner.layout.pp"),
        (("learner.processes=1", "learner.layout.tp=2"), "learner.processes"),
    ],
)
def test_a_layout_that_does_not_divide_is_named(tmp_path: Path, overrides: tuple[str, ...], key: str) -> None:
    refused(run(tmp_path, *tiny("x", *overrides)), key)


@pytest.mark.parametrize(
    ("role", "overrides"),
    [
        ("challenger", ("challenger.training.sampling.max_new_tokens=89", "learner.tokens_per_micro_batch=90")),
        ("solver", ("ablation=untrained_challenger", "learner.tokens_per_micro_batch=81")),
    ],
)
def test_a_phase_whose_longest_sequence_would_not_fit_ends_before_its_first_step(
    tmp_path: Path, role: str, overrides: tuple[str, ...]
) -> None:
    result = run(tmp_path, *tiny("x", "evaluation.base_model=false", *overrides))
    refused(result, "learner.tokens_per_micro_batch", f"{role}.training.sampling.max_new_tokens")
    phase = tmp_path / "runs" / "x" / "iterations" / "1" / role
    assert not (phase / "metrics.jsonl").exists() and not (phase / "model").exists()


def test_status_without_a_run_says_how_to_start_one(tmp_path: Path) -> None:
    refused(run(tmp_path, "status"), "rzero-mega run")


def test_another_configuration_on_a_run_directory_is_refused_by_key(tmp_path: Path) -> None:
    first = run(tmp_path, *tiny("x"))
    assert first.returncode == 0, first.stderr
    before = final_weights(tmp_path, "x")
    refused(run(tmp_path, *tiny("x", "seed=7")), "seed")
    assert final_weights(tmp_path, "x") == before


def test_a_second_process_on_a_run_directory_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    first = start(tmp_path, *tiny("x"))
    lock = tmp_path / "runs" / "x" / "run.json"
    while not lock.exists() and first.poll() is None:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGSTOP)  # or it might have finished before the second one asks
    try:
        refused(run(tmp_path, *tiny("x")), str(first.pid))
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    _, err = first.communicate(timeout=600)
    assert first.returncode == 0, err


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root and a kernel that allows it")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.gloo
@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_with_room_it_goes_on(undisturbed: Undisturbed, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", "size=8m"):
        arguments = tiny("x", f"run.root={tmp_path / 'small'}", processes=2)
        refused(run(tmp_path, *arguments), "full")
        subprocess.run(["mount", "-o", "remount,size=200m", str(tmp_path / "small")], check=True)
        resumed = run(tmp_path, *arguments)
        assert resumed.returncode == 0, resumed.stderr
        model = tmp_path / "small" / "x" / "iterations" / "1" / "solver" / "model" / "model.safetensors"
        assert model.read_bytes() == undisturbed.weights()["solver"]


def test_a_read_only_run_directory_is_named(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "fixed", "ro"):
        refused(run(tmp_path, *tiny("x", f"run.root={tmp_path / 'fixed'}")), "fixed", "read-only")
