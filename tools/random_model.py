"""Write a model of a real one's shape with random weights: `python -m tools.random_model qwen3-8b FOLDER`.

For measuring and for trying out what does not depend on what the weights say. Tensors go to disk as they are drawn, so
that memory holds one of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from rzero_mega.weights.hf_folder import dtype_named, write_hf_folder
from rzero_mega.weights.mapping import entries
from rzero_mega.weights.model_copy import copy_small_files
from rzero_mega.weights.shape import ModelShape, shape_of

_QWEN3 = {"model_type": "qwen3", "head_dim": 128, "num_key_value_heads": 8, "max_position_embeddings": 40960}
SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-8b": {
        **_QWEN3,
        "num_hidden_layers": 36,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_attention_heads": 32,
        "vocab_size": 151936,
        "tie_word_embeddings": False,
    },
    "1b": {
        **_QWEN3,
        "num_hidden_layers": 20,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_attention_heads": 16,
        "vocab_size": 32000,
        "tie_word_embeddings": True,
    },
    "100m": {
        **_QWEN3,
        "num_hidden_layers": 12,
        "hidden_size": 768,
        "intermediate_size": 2560,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 96,
        "vocab_size": 16000,
        "tie_word_embeddings": True,
    },
}


def write_random_model(
    folder: Path,
    config: Mapping[str, Any],
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
    tokenizer: Path | None = None,
) -> ModelShape:
    """Write a folder in Hugging Face format: configuration, random weights, and the files of `tokenizer` if given.

    `config` holds the keys of config.json that differ from the defaults of its `model_type`. The same arguments give
    the same bytes.
    """
    from transformers import AutoConfig

    keys = {**config, "dtype": str(dtype).removeprefix("torch.")}
    model = AutoConfig.for_model(keys.pop("model_type"), **keys)
    shape = shape_of(model)
    with tempfile.TemporaryDirectory() as template:
        if tokenizer is not None:
            copy_small_files(tokenizer, Path(template))
        model.save_pretrained(template)
        write_hf_folder(folder, random_tensors(shape, dtype, seed), Path(template))
    return shape


def random_tensors(shape: ModelShape, dtype: torch.dtype, seed: int = 0) -> Iterator[tuple[str, Tensor]]:
    """(Hugging Face name, tensor) of every weight: normal with deviation 0.02, norms around one."""
    generator = torch.Generator().manual_seed(seed)
    for entry in entries(shape):
        for name, size in zip(entry.hf, entry.sizes, strict=True):
            mean = 1.0 if "norm" in name else 0.0
            # In 32 bits, where a CPU draws several times as fast as in 16.
            yield name, torch.empty(size, dtype=torch.float32).normal_(mean, 0.02, generator=generator).to(dtype)


def main(
    shape: Annotated[str, typer.Argument(help=f"One of {', '.join(SHAPES)}.")],
    folder: Path,
    dtype: Annotated[str, typer.Option(help="bfloat16 or float32")] = "bfloat16",
    seed: int = 0,
    tokenizer: Annotated[Path | None, typer.Option(help="A model's folder whose tokenizer is copied.")] = None,
) -> None:
    """Write a model of a real one's shape with random weights."""
    write_random_model(folder, SHAPES[shape], dtype_named(dtype), seed, tokenizer)


if __name__ == "__main__":
    typer.run(main)
