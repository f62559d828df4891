from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rzero_mega.assets import nano_base_path
from tools.random_model import SHAPES, write_random_model

TINY: dict[str, dict[str, Any]] = {
    "qwen3": {"model_type": "qwen3", "head_dim": 16, "tie_word_embeddings": True},
    "llama": {"model_type": "llama", "head_dim": 16, "tie_word_embeddings": False},
    "qwen3_moe": {
        "model_type": "qwen3_moe",
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
    },
}
SIZES = {
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_random_model_loads_in_transformers_with_every_weight(
    family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    write_random_model(tmp_path, {**SIZES, **TINY[family]}, dtype)
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert model.dtype == dtype
    assert all(weight.std() > 0.001 for name, weight in model.named_parameters())


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    files = []
    for number, seed in enumerate((1, 1, 2)):
        write_random_model(tmp_path / str(number), {**SIZES, **TINY["qwen3"]}, seed=seed)
        files.append((tmp_path / str(number) / "model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


def test_the_tokenizer_of_another_model_is_copied_and_its_configuration_is_not(tmp_path: Path) -> None:
    write_random_model(tmp_path, {**SIZES, **TINY["qwen3"]}, tokenizer=nano_base_path())
    assert (tmp_path / "tokenizer.json").read_bytes() == (nano_base_path() / "tokenizer.json").read_bytes()
    assert json.loads((tmp_path / "config.json").read_text())["vocab_size"] == 61


@pytest.mark.parametrize(("name", "millions"), [("qwen3-8b", 8191), ("1b", 1072), ("100m", 104)])
def test_a_named_shape_has_the_parameters_of_its_name(name: str, millions: int) -> None:
    from math import prod

    from transformers import AutoConfig

    from rzero_mega.weights.mapping import entries
    from rzero_mega.weights.shape import shape_of

    keys = dict(SHAPES[name])
    shape = shape_of(AutoConfig.for_model(keys.pop("model_type"), **keys))
    assert round(sum(prod(size) for entry in entries(shape) for size in entry.sizes) / 1e6) == millions
