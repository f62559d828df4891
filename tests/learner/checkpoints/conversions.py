"""What the tests of `convert` share: the families, and how folders are compared."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.learner.checkpoints.conversion.convert import convert

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("qwen3", {}),
    "qwen2, with biases": ("qwen2", {}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "qwen3_moe": (
        "qwen3_moe",
        {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": True},
    ),
    "glm4_moe": ("glm4_moe", {}),
    "deepseek_v3": ("deepseek_v3", {}),
}
BASE = "qwen3"


def tensors_of(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in folder.glob("*.safetensors"):
        found.update(load_file(file))
    return found


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(tensor, right[name]) and tensor.dtype == right[name].dtype for name, tensor in left.items()
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def metadata_of(folder: Path) -> Any:
    return pickle.loads((folder / ".metadata").read_bytes())


def refused(*arguments: Any, **options: Any) -> str:
    """The one line with which a conversion is refused."""
    with pytest.raises(UserError) as caught:
        convert(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_config(model: Path, folder: Path, **keys: Any) -> Path:
    """A copy of a model's folder whose config.json says something else."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config.pop("layer_types", None)  # one for each layer; follows from the rest
    (folder / "config.json").write_text(json.dumps({**config, **keys}))
    return folder
