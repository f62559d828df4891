"""Offloader frees the GPU's memory, and training goes on as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rzero_mega.config.schema import LearnerConfig, OptimizerConfig
from rzero_mega.learner.learner import Learner
from tests.learner.megatron.gpu_only import GPU_ONLY
from tools.gpu_steps.models import LIKELIHOOD, Sizes, alone, chains

pytestmark = GPU_ONLY


def make_learner(folder: Path, offload: str) -> Learner:
    settings = LearnerConfig(dtype="bfloat16", tokens_per_micro_batch=1 << 20, offload=offload)
    return Learner(folder, alone(), settings, LIKELIHOOD, OptimizerConfig(learning_rate=1e-3), 128)


@pytest.mark.parametrize(("offload", "bytes_per_parameter"), [("optimizer", 16), ("all", 18)])
def test_parked_memory_is_free_on_the_device_and_comes_back(
    tmp_path: Path, offload: str, bytes_per_parameter: int
) -> None:
    folder = Sizes().write(tmp_path)
    batch = chains(4, 128, 1024, seed=0)
    learner = make_learner(folder, offload)
    learner.train_step(batch)
    parameters = sum(tensor.numel() for tensor in learner._model.local_weights().values())
    scores, before = learner.score(batch), torch.cuda.memory_allocated()
    reserved = torch.cuda.memory_reserved()
    with learner.offloaded():
        assert before - torch.cuda.memory_allocated() > 0.95 * bytes_per_parameter * parameters
        assert reserved - torch.cuda.memory_reserved() > 0.9 * bytes_per_parameter * parameters
    assert learner.score(batch) == scores
    assert learner.train_step(batch).grad_norm > 0
