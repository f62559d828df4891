"""What is submitted means the same in the folder of a job as in that of its user."""

from __future__ import annotations

from pathlib import Path

from rzero_mega.cluster.paths import with_absolute_paths
from rzero_mega.config import Config, load_config


def absolute(here: Path, *overrides: str) -> Config:
    return with_absolute_paths(load_config(["paper"], overrides), here)


def test_relative_paths_become_those_of_the_folder_that_submits(tmp_path: Path) -> None:
    (tmp_path / "models" / "my base").mkdir(parents=True)
    (tmp_path / "mine.jsonl").touch()
    found = absolute(
        tmp_path,
        "model.path=models/my base",
        "prompts.challenger=prompts/c.yaml",
        "prompts.solver=./s.yml",
        "prompts.paraphrase=p.yaml",
        "prompts.program=p.yaml",
        "evaluation.benchmarks=[mine.jsonl, arithmetic, 'arithmetic:3', /data/x.jsonl]",
        "weights.folder=buckets",
        "rollout.sglang.python=.venv-sglang/bin/python",
    )
    assert found.model.path == f"{tmp_path}/models/my base"
    assert (found.prompts.challenger, found.prompts.solver) == (f"{tmp_path}/prompts/c.yaml", f"{tmp_path}/s.yml")
    assert found.prompts.paraphrase == found.prompts.program == f"{tmp_path}/p.yaml"
    assert found.evaluation.benchmarks == [f"{tmp_path}/mine.jsonl", "arithmetic", "arithmetic:3", "/data/x.jsonl"]
    assert found.weights.folder == f"{tmp_path}/buckets"
    assert found.rollout.sglang.python == f"{tmp_path}/.venv-sglang/bin/python"


def test_names_and_absolute_paths_stay(tmp_path: Path) -> None:
    (tmp_path / "math_solver").mkdir()
    (tmp_path / "arithmetic").mkdir()
    for overrides in (
        ["model.path=Qwen/Qwen3-8B-Base", "evaluation.benchmarks=[arithmetic]"],
        ["model.path=asset:nano_base"],
        ["model.path=/models/x", "prompts.solver=/p/s.yaml", "weights.folder=/w"],
    ):
        assert absolute(tmp_path, *overrides) == load_config(["paper"], overrides)
