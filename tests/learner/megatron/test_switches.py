"""What is switched on for a model on GPUs and on CPUs. That the kernels are right, and faster, needs a GPU."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from megatron.core.transformer.transformer_config import TransformerConfig
from rzero_mega.recipes import load_recipe, recipe_names

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LearnerConfig
from rzero_mega.errors import UserError
from rzero_mega.learner.megatron.model import transformer_config
from rzero_mega.learner.megatron.switches import (
    Kernels,
    Switches,
    accumulate_in_layers,
    check_recompute,
    switches,
    weight_gradients_apart,
)
from rzero_mega.weights.shape import ModelShape

DENSE = ModelShape("qwen3", 4, 32, 48, 8, 2, 4, 100, 64, 1e-6, 1e4, None, False, True, False)
EXPERTS = replace(DENSE, experts=8, experts_per_token=2, expert_ffn=16)
ALL, NONE = Kernels(permute=True, route=True), Kernels(permute=False, route=False)
ANY_MODEL = {"bias_activation_fusion", "masked_softmax_fusion", "persist_layer_norm", "apply_rope_fusion"}
OF_EXPERTS = {"moe_permute_fusion", "moe_router_fusion"}
WITH_EXPERTS = ("qwen3_30b_a3b",)


def on(found: Switches) -> set[str]:
    return {name for name, value in found.settings().items() if value}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_has_all_that_its_model_can_use_on_gpus_and_nothing_on_cpus(name: str) -> None:
    learner, shape = load_recipe(name).learner, EXPERTS if name in WITH_EXPERTS else DENSE
    wanted = ANY_MODEL | (OF_EXPERTS if name in WITH_EXPERTS else set())
    assert on(switches(shape, learner, True, ALL)) == wanted
    assert on(switches(shape, learner, False, ALL)) == set()
    assert learner.recompute != "selective"


@pytest.mark.parametrize(
    ("kernels", "missing"),
    [
        (NONE, OF_EXPERTS),
        (Kernels(permute=True, route=False), {"moe_router_fusion"}),
        (Kernels(permute=False, route=True), {"moe_permute_fusion"}),
    ],
)
def test_kernels_that_transformer_engine_lacks_are_left_off(kernels: Kernels, missing: set[str]) -> None:
    assert on(switches(EXPERTS, LearnerConfig(), True, kernels)) == (ANY_MODEL | OF_EXPERTS) - missing


def test_one_key_switches_all_of_them_off() -> None:
    assert switches(EXPERTS, LearnerConfig(fused_kernels=False), True, ALL) == Switches()


def test_this_version_of_megatron_has_every_field() -> None:
    assert Switches().settings().keys() <= {field.name for field in fields(TransformerConfig)}


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
@pytest.mark.parametrize("fused", [True, False])
def test_on_a_cpu_megatron_is_told_to_fuse_nothing(alone: ParallelLayout, fused: bool) -> None:
    config = transformer_config(EXPERTS, alone, LearnerConfig(dtype="float32", fused_kernels=fused))
    fusions = {name: getattr(config, name) for name in Switches().settings()}
    assert set(fusions.values()) == {False} and not config.gradient_accumulation_fusion


def test_selective_recompute_is_refused_where_it_saves_nothing() -> None:
    for kept in (None, "full"):
        check_recompute(kept)
    with pytest.raises(UserError, match=r"^learner\.recompute: selective saves nothing on GPUs.* set it to none"):
        check_recompute("selective")


class AddsUp(torch.nn.Linear):
    """A linear layer that is asked as Transformer Engine's are: it adds its weight's gradient up in `main_grad`."""

    fuse_wgrad_accumulation = False


def test_layers_that_can_add_their_weight_gradients_up_do_so_but_where_each_is_looked_at() -> None:
    chunks = [torch.nn.Sequential(AddsUp(2, 2), torch.nn.Linear(2, 2)), torch.nn.Sequential(AddsUp(2, 2))]
    layers = [layer for chunk in chunks for layer in chunk.modules() if isinstance(layer, AddsUp)]
    with weight_gradients_apart(chunks):
        assert not any(layer.fuse_wgrad_accumulation for layer in layers)
    assert not any(layer.fuse_wgrad_accumulation for layer in layers)  # they had never begun to
    assert accumulate_in_layers(chunks) == 2
    with pytest.raises(KeyError), weight_gradients_apart(chunks):
        assert not any(layer.fuse_wgrad_accumulation for layer in layers)
        raise KeyError
    assert all(layer.fuse_wgrad_accumulation for layer in layers)
