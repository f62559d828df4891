"""`rzero-mega plan` as a user starts it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rzero_mega.assets import nano_base_path
from tests.e2e.command import run

pytestmark = pytest.mark.e2e


def test_a_plan_shows_layouts_with_units_and_the_settings_of_the_picked_one(tmp_path: Path) -> None:
    done = run(tmp_path, "plan", "--model", "Qwen3-8B", "--gpus", "16", "--gpu", "H100")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.split().count("GB") == 9 for line in lines)
    assert sum(line.lstrip().startswith(">") for line in lines) == 1
    assert lines[-1].startswith("placement.nodes=2 placement.gpus_per_node=8 placement.servers=colocated learner.")
    assert "Times are estimates, made to agree with one H100" in " ".join(done.stdout.split())
    assert list(tmp_path.iterdir()) == []


def test_a_plan_for_machines_is_json_of_the_same(tmp_path: Path) -> None:
    shutil.copytree(nano_base_path(), tmp_path / "model")
    done = run(tmp_path, "plan", "--model", "model", "--gpus", "2", "--rollout", "resident", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (picked,) = [row for row in found["layouts"] if row["picked"]]
    assert 0 < len(found["layouts"]) <= 12
    assert picked["step_seconds"] == min(row["step_seconds"] for row in found["layouts"])
    assert picked["learner_bytes"]["weights"] > 0 and picked["rollout"]["kv_cache"] > 0
    assert f"learner.layout.tp={picked['layout']['tp']}" in found["overrides"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "Qwen9-8B", "--gpus", "8"), ("Qwen9-8B", "Qwen3-8B")),
        (("--model", "Qwen3-8B", "--gpus", "8", "--gpu", "X100"), ("X100", "H100")),
        (("--model", "Qwen3-8B", "--gpus", "0"), ("--gpus 0",)),
        (("--model", "Qwen3-8B", "--gpus", "8", "--rollout", "never"), ("--rollout never", "turns")),
        (("--model", "Qwen3-235B-A22B", "--gpus", "16"), ("nothing fits", "GB", "--gpus 128 would do")),
    ],
)
def test_what_cannot_be_planned_is_one_line(tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = run(tmp_path, "plan", *options)
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert len(lines) == 1 and lines[0].startswith("rzero-mega: ")
    assert all(word in lines[0] for word in words)
