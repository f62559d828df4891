"""`rzero-mega convert` as a user calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rzero_mega.assets import nano_base_path
from tests.e2e.command import run

pytestmark = pytest.mark.e2e


def test_a_model_is_converted_there_and_back_to_the_bit(tmp_path: Path) -> None:
    base = str(nano_base_path())
    there = run(tmp_path, "convert", base, "megatron")
    assert there.returncode == 0, there.stderr
    back = run(tmp_path, "convert", "megatron", "hf", "--template", base)
    assert back.returncode == 0, back.stderr
    for result, format_name in ((there, "Megatron checkpoint"), (back, "Hugging Face folder")):
        (line,) = result.stdout.splitlines()
        assert format_name in line
        assert "46 tensors" in line
    expected, found = (load_file(folder / "model.safetensors") for folder in (nano_base_path(), tmp_path / "hf"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_template_of_another_model_is_one_line_with_every_difference(tmp_path: Path) -> None:
    assert run(tmp_path, "convert", str(nano_base_path()), "megatron").returncode == 0
    shutil.copytree(nano_base_path(), tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    config |= {"hidden_size": 64, "vocab_size": 99}
    (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    result = run(tmp_path, "convert", "megatron", "hf", "--template", "other")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "hidden is 128 there, 64 here" in line
    assert "vocab is 104 there, 99 here" in line
    assert not (tmp_path / "hf").exists()


def test_a_checkpoint_without_a_template_says_what_it_needs(tmp_path: Path) -> None:
    assert run(tmp_path, "convert", str(nano_base_path()), "megatron").returncode == 0
    result = run(tmp_path, "convert", "megatron", "hf")
    assert result.returncode == 2
    assert "--template" in result.stderr
