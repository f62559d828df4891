"""What is submitted means the same in the folder of a job as in that of its user."""

from __future__ import annotations

from pathlib import Path

import pytest

from rzero_mega.cluster.paths import with_absolute_paths
from rzero_mega.config import Config, load_config
from rzero_mega.config.explain import all_keys
from rzero_mega.config.kinds import values_of

PATHS = [name for name, key in all_keys().items() if key.field.metadata.get("path")]


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
        "labels.audit.prompt=oracle.yaml",
        "evaluation.benchmarks=[mine.jsonl, arithmetic, 'arithmetic:3', /data/x.jsonl]",
        "weights.folder=buckets",
        "rollout.sglang.python=.venv-sglang/bin/python",
    )
    assert found.model.path == f"{tmp_path}/models/my base"
    assert (found.prompts.challenger, found.prompts.solver) == (f"{tmp_path}/prompts/c.yaml", f"{tmp_path}/s.yml")
    assert found.prompts.paraphrase == f"{tmp_path}/p.yaml" and found.labels.audit.prompt == f"{tmp_path}/oracle.yaml"
    assert found.evaluation.benchmarks == [f"{tmp_path}/mine.jsonl", "arithmetic", "arithmetic:3", "/data/x.jsonl"]
    assert found.weights.folder == f"{tmp_path}/buckets"
    assert found.rollout.sglang.python == f"{tmp_path}/.venv-sglang/bin/python"


@pytest.mark.parametrize("key", PATHS)
def test_every_key_that_may_be_a_path_is_followed_from_there(key: str, tmp_path: Path) -> None:
    text = "here" if key == "model.path" else "here.yaml"
    (tmp_path / text).mkdir() if key == "model.path" else (tmp_path / text).touch()
    given = f"[{text}]" if isinstance(values_of(Config())[key], list) else text
    more = ["labelled.method=grpo"] if key == "labelled.data" else []
    found = values_of(absolute(tmp_path, f"{key}={given}", *more))[key]
    assert found == ([f"{tmp_path}/{text}"] if given != text else f"{tmp_path}/{text}")


@pytest.mark.parametrize("key", [key for key in PATHS if key.startswith("prompts.") or key.endswith(".prompt")])
def test_a_shipped_prompt_stays_a_name_whatever_lies_here(key: str, tmp_path: Path) -> None:
    (tmp_path / "math_solver").mkdir()
    assert values_of(absolute(tmp_path, f"{key}=math_solver"))[key] == "math_solver"


def test_names_and_absolute_paths_stay(tmp_path: Path) -> None:
    (tmp_path / "math_solver").mkdir()
    (tmp_path / "arithmetic").mkdir()
    for overrides in (
        ["model.path=Qwen/Qwen3-8B-Base", "evaluation.benchmarks=[arithmetic]"],
        ["model.path=asset:nano_base", "labelled.method=grpo", "labelled.data=arithmetic:100"],
        ["model.path=/models/x", "prompts.solver=/p/s.yaml", "weights.folder=/w", "run.root=/r"],
    ):
        given = ["run.root=/r", *overrides]
        assert absolute(tmp_path, *given) == load_config(["paper"], given)
