"""Conversions that are refused: each in one line that names what is wrong, and with nothing written."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rzero_mega.learner.checkpoints.conversion import convert as convert_module
from rzero_mega.learner.checkpoints.conversion.convert import convert
from tests.learner.checkpoints.conversions import BASE, metadata_of, refused, same, tensors_of, with_config


@pytest.fixture
def checkpoint(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A converted checkpoint of a test's own, to be damaged."""
    return Path(shutil.copytree(checkpoints[BASE], tmp_path / "checkpoint"))


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert_module, "free_bytes", lambda _path: 100_000)
    assert "make room" in refused(models[BASE], tmp_path / "target")
    assert not list(tmp_path.rglob("*.distcp"))


def test_a_target_that_is_there_is_left_alone(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    assert "is there already" in refused(models[BASE], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


DIFFERENT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "vocab_size": 62,
    "tie_word_embeddings": True,
}


def test_a_template_that_does_not_fit_is_refused_with_every_difference(
    models: dict[str, Path], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    template = with_config(models[BASE], tmp_path / "template", **DIFFERENT)
    message = refused(checkpoints[BASE], tmp_path / "target", template=template)
    for words in (
        "hidden is 48 there, 32 here",
        "ffn is 80 there, 64 here",
        "layers is 2 there, 3 here",
        "vocab is 61 there, 62 here",
        "tied is False there, True here",
    ):
        assert words in message
    assert not (tmp_path / "target").exists()


def test_without_a_recorded_shape_the_tensors_themselves_are_compared(
    models: dict[str, Path], checkpoint: Path, tmp_path: Path
) -> None:
    torch.save({}, checkpoint / "common.pt")
    convert(checkpoint, tmp_path / "fits", template=models[BASE])
    assert same(tensors_of(tmp_path / "fits"), tensors_of(models[BASE]))
    template = with_config(models[BASE], tmp_path / "template", **DIFFERENT)
    message = refused(checkpoint, tmp_path / "target", template=template)
    assert "decoder.layers.mlp.linear_fc2.weight is (2, 48, 80) there, (3, 32, 64) here" in message
    assert "output_layer.weight is unknown here" in message


def test_a_source_whose_configuration_does_not_fit_is_refused_with_every_difference(
    models: dict[str, Path], tmp_path: Path
) -> None:
    source = with_config(models[BASE], tmp_path / "source", **DIFFERENT)
    message = refused(source, tmp_path / "target")
    for words in (
        "num_hidden_layers is 2 by the tensors, 3 by config.json",
        "model.embed_tokens.weight is (61, 48), (62, 32) by config.json",
        "model.layers.*.mlp.up_proj.weight is (80, 48), (64, 32) by config.json (2 tensors)",
        "lm_head.weight differs from the embedding",
    ):
        assert words in message
    assert not (tmp_path / "target").exists()


def test_other_experts_than_the_configuration_says_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    source = with_config(models["qwen3_moe"], tmp_path / "source", num_local_experts=6, moe_intermediate_size=20)
    message = refused(source, tmp_path / "target")
    assert "num_experts is 4 by the tensors, 6 by config.json" in message
    assert "model.layers.*.mlp.experts.*.down_proj.weight is (48, 24), (48, 20) by config.json (8 tensors)" in message


def test_a_tensor_that_is_missing_or_unknown_is_named(models: dict[str, Path], tmp_path: Path) -> None:
    source = with_config(models[BASE], tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    del tensors["model.layers.1.self_attn.q_norm.weight"]
    tensors["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(64)
    save_file(tensors, source / "model.safetensors")
    message = refused(source, tmp_path / "target")
    assert "model.layers.1.self_attn.q_norm.weight is missing" in message
    assert "model.layers.0.self_attn.q_proj.bias is unknown to config.json" in message


def test_a_tied_head_that_is_stored_again_is_no_difference(models: dict[str, Path], tmp_path: Path) -> None:
    source = with_config(models["llama, tied"], tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, source / "model.safetensors")
    convert(source, tmp_path / "megatron")
    convert(tmp_path / "megatron", tmp_path / "hf", template=models["llama, tied"])
    assert same(tensors_of(tmp_path / "hf"), tensors)


def test_quantised_models_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    source = with_config(models[BASE], tmp_path / "source", quantization_config={"quant_method": "fp8"})
    assert "quantization_config" in refused(source, tmp_path / "target")


def test_a_folder_of_neither_format_is_named(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "neither" in refused(tmp_path / "empty", tmp_path / "target", template=models[BASE])


def test_a_checkpoint_needs_a_template_and_a_folder_takes_none(
    models: dict[str, Path], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    assert "--template" in refused(checkpoints[BASE], tmp_path / "target")
    assert "--template" in refused(models[BASE], tmp_path / "target", template=models[BASE])


def test_a_dtype_that_is_not_known_is_named(models: dict[str, Path], tmp_path: Path) -> None:
    assert "--dtype float8" in refused(models[BASE], tmp_path / "target", dtype="float8")


class Touch:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("file", [".metadata", "common.pt"])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(
    file: str, models: dict[str, Path], checkpoint: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    (checkpoint / file).write_bytes(pickle.dumps(Touch(canary)))
    assert file in refused(checkpoint, tmp_path / "target", template=models[BASE])
    assert not canary.exists()


def test_damaged_data_is_named_and_leaves_no_target(models: dict[str, Path], checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.glob("*.distcp"):
        file.write_bytes(bytes(file.stat().st_size))
    assert "embedding.word_embeddings.weight" in refused(checkpoint, tmp_path / "target", template=models[BASE])
    assert not (tmp_path / "target").exists()


def test_a_tensor_of_which_a_part_is_missing_is_named(
    models: dict[str, Path], checkpoint: Path, tmp_path: Path
) -> None:
    metadata = metadata_of(checkpoint)
    metadata.state_dict_metadata["decoder.layers.mlp.linear_fc2.weight"].chunks.pop()
    (checkpoint / ".metadata").write_bytes(pickle.dumps(metadata))
    message = refused(checkpoint, tmp_path / "target", template=models[BASE])
    assert "decoder.layers.mlp.linear_fc2.weight" in message
