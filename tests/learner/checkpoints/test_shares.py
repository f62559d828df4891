"""What of the optimizer's state a rank writes into a checkpoint, and how often it goes through host memory for that."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.learner.checkpoints.shares import rectangles
from tests.learner.ranks import TrainingCase, run_cases
from tools import bench_checkpoint

TINY = {
    "model_type": "qwen3",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 400,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}


@given(st.lists(st.integers(1, 7), min_size=1, max_size=2), st.data())
def test_a_stretch_of_elements_is_three_rectangles_at_most_in_their_order(
    shape: list[int], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, prod(shape)))
    end = data.draw(st.integers(start, prod(shape)))
    elements, found = torch.arange(prod(shape)).view(shape), list[int]()
    for corner, size in rectangles(shape, start, end):
        assert all(size)
        inside = tuple(slice(at, at + width) for at, width in zip(corner, size, strict=True))
        found += elements[inside].flatten().tolist()
    assert found == list(range(start, end))
    assert len(list(rectangles(shape, start, end))) <= 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_byte_goes_through_host_memory_once(dtype: str, alone: ParallelLayout, tmp_path: Path) -> None:
    cost = bench_checkpoint.measure(TINY, dtype, tmp_path)
    # Besides: the state of the random generator, and what ranks say to each other.
    assert 1.0 <= cost.passes < 1.05


@pytest.mark.gloo
def test_ranks_of_data_parallelism_write_shares_that_make_up_every_tensor(
    tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    tiny_model("qwen3", vocab_size=61).save_pretrained(tmp_path / "base")
    (tmp_path / "saved").mkdir()
    run_cases([TrainingCase("dp2", str(tmp_path / "base"), last=1, dp=2, save=str(tmp_path / "saved"))], tmp_path)
    metadata = pickle.loads((tmp_path / "saved" / ".metadata").read_bytes())
    written = [0, 0]
    for index, info in metadata.storage_data.items():
        if index.fqn.startswith("optimizer."):
            written[int(info.relative_path.split("_")[2])] += info.length
    for name, entry in metadata.state_dict_metadata.items():
        assert sum(prod(chunk.sizes) for chunk in entry.chunks) == prod(entry.size), name
    assert any(len(entry.chunks) > 2 for entry in metadata.state_dict_metadata.values())
    assert 0.8 < written[0] / written[1] < 1.25
