from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rzero_mega.config import load_config
from tools import average_models as tool


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    folders = tmp_path / "model", tmp_path / "anchor"
    for folder, value in zip(folders, (1.0, 3.0), strict=True):
        folder.mkdir()
        save_file({"w": torch.full((2, 2), value)}, folder / "model.safetensors")
        (folder / "config.json").write_text(f'{{"dtype": "float32", "of": "{folder.name}"}}')
    return folders


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.25, 1.5), (1.0, 3.0)])
def test_an_average_is_a_folder_with_the_model_s_other_files(
    models: tuple[Path, Path], tmp_path: Path, share: float, expected: float
) -> None:
    tool.write_average(tmp_path / "average", *models, share)
    assert load_file(tmp_path / "average" / "model.safetensors")["w"].tolist() == [[expected] * 2] * 2
    assert '"of": "model"' in (tmp_path / "average" / "config.json").read_text()


def test_what_is_evaluated_is_the_average(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Evaluation:
        def __init__(self, config: object, folder: Path) -> None:
            weights = load_file(Path(config.model.path) / "model.safetensors")["w"]  # type: ignore[attr-defined]
            mean = float(weights[0, 0]) / 4
            self.summary = {
                "by_benchmark": {
                    "a": {"mean": mean, "greedy": None, "vote": 1.0},
                    "b": {"mean": None, "greedy": 0.25, "vote": None},
                }
            }

    monkeypatch.setattr(tool, "evaluate_model", Evaluation)
    points = {share: tool.measure(load_config(["paper"]), *models, share, tmp_path) for share in (0.5, 1.0)}
    assert tool.table(points) == [
        "| share of the anchor | a: mean | a: vote | b: greedy |",
        "| --- | --- | --- | --- |",
        "| 0.5 | 50.0 | 100.0 | 25.0 |",
        "| 1 | 75.0 | 100.0 | 25.0 |",
    ]
