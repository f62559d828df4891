"""The learner's memory offloaded on the host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig
from rzero_mega.learner.learner import Learner
from tests.learner.ranks import rollouts

VOCABULARY = 61


def make_learner(folder: Path, layout: ParallelLayout, dtype: str, offload: str) -> Learner:
    settings = LearnerConfig(dtype=dtype, tokens_per_micro_batch=128, offload=offload)
    return Learner(folder, layout, settings, GrpoConfig(sequences_per_update=9), OptimizerConfig(), 30)


def weights_of(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.export()}


def moments_of(learner: Learner) -> list[torch.Tensor]:
    (optimizer,) = getattr(learner._optimizer, "chained_optimizers", [learner._optimizer])
    return [state[name] for state in optimizer.optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]


@pytest.fixture
def folder(tiny_model: Callable[..., Any], tmp_path: Path) -> Path:
    tiny_model("qwen3", vocab_size=VOCABULARY).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("offload", ["optimizer", "all"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_that_is_parked_between_steps_trains_the_same_weights(
    folder: Path, alone: ParallelLayout, dtype: str, offload: str
) -> None:
    plain, offloaded = (make_learner(folder, alone, dtype, what) for what in ("none", offload))
    for step in (1, 2, 3):
        plain.train_step(rollouts(step, VOCABULARY))
        with offloaded.offloaded():
            pass
        offloaded.train_step(rollouts(step, VOCABULARY))
    expected, found = weights_of(plain), weights_of(offloaded)
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parked_memory_is_free_and_comes_back_with_its_values(folder: Path, alone: ParallelLayout, dtype: str) -> None:
    learner = make_learner(folder, alone, dtype, "all")
    learner.train_step(rollouts(1, VOCABULARY))
    weights, moments = weights_of(learner), [tensor.clone() for tensor in moments_of(learner)]
    assert any(tensor.any() for tensor in moments)
    held = [*learner._model.local_weights().values(), *moments_of(learner)]
    parameters: dict[str, Any] = learner._model.parameters  # Megatron gives them an attribute
    held += [parameter.main_grad for parameter in parameters.values()]
    with learner.offloaded():
        assert {tensor.untyped_storage().nbytes() for tensor in held} == {0}
    assert all(torch.equal(tensor, weights[name]) for name, tensor in learner.export())
    assert all(torch.equal(a, b) for a, b in zip(moments_of(learner), moments, strict=True))


def test_weights_stay_for_the_engine_where_only_the_optimizer_is_offloaded(folder: Path, alone: ParallelLayout) -> None:
    learner = make_learner(folder, alone, "bfloat16", "optimizer")
    learner.train_step(rollouts(1, VOCABULARY))
    with learner.offloaded():
        assert all(tensor.untyped_storage().nbytes() for tensor in learner._model.local_weights().values())
        assert {tensor.untyped_storage().nbytes() for tensor in moments_of(learner)} == {0}
