"""Evaluations that are kept: gone on with, judged again without a model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rzero_mega.atomic import read_jsonl, write_jsonl
from rzero_mega.commands.evaluate import evaluate_models, names_of
from rzero_mega.commands.kept_evaluation import regrade, say_evaluations
from rzero_mega.config import Config, load_config
from rzero_mega.errors import UserError


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    rows = [{"question": f"{n}+1", "answer": str(n + 1)} for n in range(1, 5)]
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = [f"evaluation.benchmarks=['{tmp_path}/problems.jsonl']", f"run.root={tmp_path / 'runs'}"]
    settings += ["learner.processes=1", "grading.workers=1"]
    return lambda *overrides: load_config(["paper", "nano"], [*settings, *overrides])


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_kept_is_not_asked_again_and_is_judged_again_without_a_model(
    config: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "kept"
    found = evaluate_models([config(), config("model.path=asset:nano_base")], output)
    assert list(found) == ["asset-nano_base", "asset-nano_base-2"]
    before = files(output)
    assert {name.partition("/")[2] for name in before} == {
        "benchmarks.jsonl",
        "evaluation.json",
        "predictions.jsonl",
        "scores.jsonl",
    }
    assert before["asset-nano_base/scores.jsonl"] == before["asset-nano_base-2/scores.jsonl"]
    again = evaluate_models([config()], output)
    assert again["asset-nano_base"].summary == found["asset-nano_base"].summary and files(output) == before
    say_evaluations(found)
    assert "asset-nano_base-2" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds an evaluation of another model"):
        evaluate_models([config("evaluation.samples=2")], output)
    regraded = regrade(output, config())
    assert [(entry.changed, len(entry.evaluation.predictions)) for entry in regraded] == [(0, 20), (0, 20)]
    assert files(output) == before
    folder = output / "asset-nano_base"
    rows = [{**row, "right": not row["right"], "prediction": "?"} for row in read_jsonl(folder / "predictions.jsonl")]
    write_jsonl(folder / "predictions.jsonl", rows)
    assert [entry.changed for entry in regrade(folder, config())] == [20]
    assert files(output) == before


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [("gone", "holds no predictions"), ("fewer", "is not answered"), ("none", "no phase of a run")],
)
def test_what_cannot_be_judged_again_is_one_line(
    config: Callable[..., Config], tmp_path: Path, damage: str, complaint: str
) -> None:
    evaluate_models([config()], tmp_path / "kept")
    folder = tmp_path / "kept" / "asset-nano_base"
    if damage == "gone":
        (folder / "predictions.jsonl").unlink()
    elif damage == "none":
        (folder / "evaluation.json").unlink()
    else:
        write_jsonl(folder / "predictions.jsonl", list(read_jsonl(folder / "predictions.jsonl"))[5:])
    with pytest.raises(UserError, match=complaint):
        regrade(folder, config())


def test_judging_again_takes_no_torch() -> None:
    code = "import sys; import rzero_mega.commands.kept_evaluation; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_models_have_names_of_their_own() -> None:
    models = ["a/base", "b/base/", "asset:nano_base", "hub/Qwen3-4B", "..", "c/base"]
    assert names_of(models) == ["base", "base-2", "asset-nano_base", "Qwen3-4B", "model", "base-3"]
