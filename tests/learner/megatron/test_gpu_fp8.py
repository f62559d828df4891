"""FP8 trains; needs a GPU of compute capability 9.0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from tests.learner.megatron.gpu_only import GPU_ONLY
from tools.gpu_steps import fp8
from tools.gpu_steps.models import Sizes, free_memory

pytestmark = GPU_ONLY

SMALL = fp8.Settings(
    model=Sizes(2, 512, 1024, 4, 2, 128, 2048), sequences=4, length=256, alphabet=256, steps=40, warmup=5,
    learning_rate=1e-3,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SMALL.model.write(tmp_path_factory.mktemp("fp8"))


@pytest.mark.parametrize("recipe", SMALL.recipes)
def test_a_recipe_learns_as_bf16_does(folder: Path, recipe: str) -> None:
    bf16, curve = fp8.train(folder, SMALL, fp8.BF16), fp8.train(folder, SMALL, recipe)
    free_memory()
    assert fmean(curve.losses[-5:]) < 0.9 * curve.losses[0]
    assert fp8.compare(bf16, curve, window=5).loss_end < 0.05  # type: ignore[operator]
    assert curve.gradient is not None and curve.gradient.cosine > 0.95


@pytest.mark.parametrize("length", [255, 257])
def test_token_counts_that_fp8_does_not_take_are_filled_up(folder: Path, length: int) -> None:
    settings = replace(SMALL, length=length, sequences=1, steps=2)
    assert all(loss > 0 for loss in fp8.train(folder, settings, "tensorwise").losses)
