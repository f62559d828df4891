"""FP8 recipes are refused by name where hardware or sizes rule them out. Training with them needs a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import Fp8Config
from rzero_mega.errors import UserError
from rzero_mega.learner.megatron.fp8 import REQUIREMENTS, check_fp8, check_recipe, fp8_settings, token_multiple
from rzero_mega.weights.shape import ModelShape

QWEN3_8B = ModelShape("qwen3", 36, 4096, 12288, 32, 8, 128, 151936, 40960, 1e-6, 1e6, None, False, True, False)
ONE = ParallelLayout()
HOPPER, AMPERE = (9, 0), (8, 0)


@pytest.mark.parametrize("recipe", ["delayed", "tensorwise", "blockwise"])
@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_qwen3_8b_trains_on_hopper(recipe: str, tp: int) -> None:
    layout = replace(ONE, tp=tp, etp=tp, sequence_parallel=tp > 1)
    check_recipe(Fp8Config(format="hybrid", recipe=recipe), QWEN3_8B, layout, "bfloat16", HOPPER)


@pytest.mark.parametrize(("recipe", "capability"), [("delayed", AMPERE), ("blockwise", (8, 9)), ("mxfp8", HOPPER)])
def test_a_gpu_that_cannot_is_named_with_what_the_recipe_needs(recipe: str, capability: tuple[int, int]) -> None:
    needed = "{}.{}".format(*REQUIREMENTS[recipe].capability)
    with pytest.raises(UserError, match=rf"^learner\.fp8\.recipe: {recipe} needs .* {needed}, this one has"):
        check_recipe(Fp8Config(format="e4m3", recipe=recipe), QWEN3_8B, ONE, "bfloat16", capability)


@pytest.mark.parametrize(
    ("recipe", "change", "what"),
    [
        ("delayed", {"hidden": 4104}, "the hidden size is 4104"),
        ("blockwise", {"ffn": 12352}, "ffn per tensor-parallel rank is 12352"),
        ("delayed", {"heads": 5, "head_dim": 8, "kv_heads": 1}, "the width of attention .* is 40"),
        ("delayed", {"experts": 4, "expert_ffn": 24}, "the experts' ffn .* is 24"),
    ],
)
def test_a_size_that_does_not_divide_is_named(recipe: str, change: dict[str, int], what: str) -> None:
    shape = replace(QWEN3_8B, **change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=what):
        check_recipe(Fp8Config(format="hybrid", recipe=recipe), shape, ONE, "bfloat16", HOPPER)


def test_fp8_on_top_of_float32_is_refused() -> None:
    with pytest.raises(UserError, match=r"learner\.dtype bfloat16, not float32"):
        check_recipe(Fp8Config(format="hybrid"), QWEN3_8B, ONE, "float32", HOPPER)


def test_outer_layers_in_bf16_are_refused_where_scales_are_delayed() -> None:
    for recipe in ("tensorwise", "blockwise"):
        check_recipe(Fp8Config("hybrid", recipe, first_last_layers_bf16=True), QWEN3_8B, ONE, "bfloat16", HOPPER)
    with pytest.raises(UserError, match=r"^learner\.fp8\.first_last_layers_bf16: not with the recipe delayed"):
        check_recipe(Fp8Config("hybrid", "delayed", first_last_layers_bf16=True), QWEN3_8B, ONE, "bfloat16", HOPPER)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_gpu_it_is_refused_before_a_model_is_built() -> None:
    with pytest.raises(UserError, match=r"^learner\.fp8\.format: hybrid needs an FP8-capable GPU"):
        check_fp8(Fp8Config(format="hybrid"), QWEN3_8B, ONE, "bfloat16")


def test_without_fp8_nothing_is_asked_and_nothing_set() -> None:
    check_fp8(Fp8Config(), replace(QWEN3_8B, hidden=4104), ONE, "float32")
    assert fp8_settings(Fp8Config()) == {} and token_multiple(Fp8Config()) == 1


def test_every_setting_reaches_megatron() -> None:
    fp8 = Fp8Config("hybrid", "blockwise", True, 2, 16, "max", False, True)
    assert fp8_settings(fp8) == {
        "fp8": "hybrid",
        "fp8_recipe": "blockwise",
        "fp8_param": True,
        "fp8_margin": 2,
        "fp8_amax_history_len": 16,
        "fp8_amax_compute_algo": "max",
        "fp8_wgrad": False,
        "first_last_layers_bf16": True,
    }
    assert token_multiple(fp8) == 128
