"""The scores of a model by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rzero_mega.commands.evaluate import evaluate_models
from rzero_mega.config import load_config
from rzero_mega.errors import UserError


def test_a_model_is_scored_and_no_run_is_left(tmp_path: Path) -> None:
    benchmark = tmp_path / "problems.jsonl"
    rows = [{"question": f"{n}+1", "answer": str(n + 1), "level": level} for n, level in ((1, "a"), (2, "a"), (3, "b"))]
    benchmark.write_text("\n".join(map(json.dumps, rows)))
    settings = [f"evaluation.benchmarks=['{benchmark}']", "evaluation.samples=2", f"run.root={tmp_path / 'runs'}"]
    models = evaluate_models([load_config(["paper", "nano"], [*settings, "learner.processes=1"])], None)
    found = models["asset-nano_base"].summary
    assert found["problems"] == 3 and list(found["by_level"]) == ["a", "b"]
    # One-digit sums are what the nano base knows by heart.
    assert found["pass1_greedy"] == found["by_level"]["a"]["greedy"] == 1.0
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_scored_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing"):
        evaluate_models([load_config(["paper", "nano"], [f"model.path={tmp_path / 'missing'}"])], None)
