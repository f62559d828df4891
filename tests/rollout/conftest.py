from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rollout.contract import CONTEXT, STOP_TOKENS

# Family and configuration keys: tied and untied embeddings, few heads of keys and as many as of queries.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("qwen3", {}),
    "qwen3-tied": ("qwen3", {"tie_word_embeddings": True}),
    "qwen2-tied": ("qwen2", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "qwen3-moe": ("qwen3_moe", {}),
    "glm4-moe": ("glm4_moe", {}),
    "deepseek-v3": ("deepseek_v3", {}),
    "llama": ("llama", {"num_key_value_heads": 1}),
}


@pytest.fixture(scope="session")
def model_folder(tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the tiny model of a name in MODELS and a seed, once, and returns its folder."""
    folders: dict[tuple[str, int], Path] = {}

    def write(name: str, seed: int = 0) -> Path:
        if (name, seed) not in folders:
            family, keys = MODELS[name]
            ids = {"eos_token_id": STOP_TOKENS[0], "pad_token_id": 0, "bos_token_id": None}
            model = tiny_model(family, seed, max_position_embeddings=CONTEXT, **ids, **keys)
            model.generation_config.eos_token_id = list(STOP_TOKENS)
            folders[name, seed] = tmp_path_factory.mktemp(name)
            model.save_pretrained(folders[name, seed])
        return folders[name, seed]

    return write
