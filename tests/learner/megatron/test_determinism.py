"""The deterministic mode: what it sets, and that it trains. That GPUs then give the same bits needs a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig
from rzero_mega.learner.learner import Learner
from rzero_mega.learner.megatron.policy_model import bare
from rzero_mega.learner.megatron.process_groups import start_process_groups
from rzero_mega.run.determinism import deterministic_variables
from tests.learner.ranks import rollouts

VOCABULARY = 61


@pytest.fixture
def process(alone: ParallelLayout) -> Iterator[ParallelLayout]:
    """The layout of this process, which is as before afterwards."""
    before, filling = dict(os.environ), torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    yield alone
    os.environ.clear()
    os.environ.update(before)
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]


def trained(folder: Path, layout: ParallelLayout, deterministic: bool) -> tuple[Learner, dict[str, Tensor]]:
    settings = LearnerConfig(dtype="float32", tokens_per_micro_batch=64, deterministic=deterministic)
    grpo, optimizer = GrpoConfig(sequences_per_update=3), OptimizerConfig(learning_rate=1e-2, epsilon=1e-1)
    learner = Learner(folder, layout, settings, grpo, optimizer, 30)
    learner.train_step(rollouts(1, VOCABULARY))
    return learner, {name: weight.clone() for name, weight in learner.export()}


def test_the_mode_reaches_torch_megatron_and_the_environment_and_its_updates_are_the_same_to_the_bit(
    process: ParallelLayout, tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    # Megatron permutes and routes tokens of experts by other operations in this mode.
    tiny_model("qwen3_moe", vocab_size=VOCABULARY).save_pretrained(tmp_path)
    _, ordinary = trained(tmp_path, process, deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()
    start_process_groups(process, 0, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled() and deterministic_variables(os.environ) == {}
    learner, first = trained(tmp_path, process, deterministic=True)
    config = learner._model.config
    embedding: Any = bare(learner._model.chunks[0]).embedding.word_embeddings
    assert config.deterministic_mode and embedding.deterministic_mode
    _, second = trained(tmp_path, process, deterministic=True)
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
        torch.testing.assert_close(weight, ordinary[name], rtol=0, atol=1e-6, msg=name)
