from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

# A shared machine may stall at any example; how long one takes is no property of the code.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Any]:
    """Builds a transformers model of (family, seed, configuration keys) whose weights are far from symmetric."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    def build(family: str, seed: int = 0, **keys: Any) -> Any:
        sizes: dict[str, Any] = {
            "vocab_size": 61,
            "hidden_size": 48,
            "intermediate_size": 80,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "tie_word_embeddings": False,
            "attention_dropout": 0.0,
        }
        if family != "qwen2":  # its transformers class derives the head dimension
            sizes["head_dim"] = 16
        config = AutoConfig.for_model(family, **{**sizes, **keys})
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                around = 1.0 if "norm" in name else 0.0
                weight.normal_(around, 0.1, generator=generator)
        return model.eval()

    return build
