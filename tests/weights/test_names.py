"""Parameter names of one rank's module become names that mean the same on every rank, whatever the layer spec."""

from __future__ import annotations

import torch

from rzero_mega.weights.mapping.names import global_parameters, is_expert


def nest(names: list[str]) -> torch.nn.Module:
    """A module whose parameters have these names."""
    root = torch.nn.Module()
    for name in names:
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, torch.nn.Module())
            module = getattr(module, part)
        module.register_parameter(leaf, torch.nn.Parameter(torch.zeros(1)))
    return root


def stage(first_layer: int, layer_parameters: list[str]) -> torch.nn.Module:
    """A pipeline stage of one layer, as Megatron-core numbers it."""
    layer = nest(layer_parameters)
    layer.layer_number = first_layer + 1  # type: ignore[assignment]
    model, decoder = torch.nn.Module(), torch.nn.Module()
    decoder.layers = torch.nn.ModuleList([layer])
    model.decoder = decoder
    return model


def names(model: torch.nn.Module, first_expert: int = 0) -> list[str]:
    return [name for name, _ in global_parameters(model, first_expert)]


def test_layers_are_counted_over_the_pipeline() -> None:
    assert names(stage(6, ["mlp.linear_fc2.weight"])) == ["decoder.layers.6.mlp.linear_fc2.weight"]


def test_a_norm_that_transformer_engine_fuses_has_the_local_specs_name() -> None:
    fused = ["self_attention.linear_qkv.layer_norm_weight", "mlp.linear_fc1.layer_norm_weight"]
    apart = ["input_layernorm.weight", "pre_mlp_layernorm.weight"]
    assert sorted(names(stage(0, fused))) == sorted(names(stage(0, apart)))


def test_experts_are_counted_over_expert_parallelism() -> None:
    local = [f"mlp.experts.local_experts.{expert}.linear_fc1.weight" for expert in range(2)]
    assert names(stage(1, local), first_expert=4) == [
        f"decoder.layers.1.mlp.experts.local_experts.{expert}.linear_fc1.weight" for expert in (4, 5)
    ]


def test_transformer_engines_grouped_experts_have_the_local_specs_names() -> None:
    grouped = [f"mlp.experts.linear_fc{which}.weight{expert}" for which in (1, 2) for expert in range(3)]
    local = [f"mlp.experts.local_experts.{e}.linear_fc{which}.weight" for which in (1, 2) for e in range(3)]
    assert sorted(names(stage(0, grouped), 3)) == sorted(names(stage(0, local), 3))


def test_wrappers_around_the_model_do_not_show() -> None:
    inner = stage(0, ["mlp.linear_fc2.weight"])
    wrapper = torch.nn.Module()
    wrapper.module = inner
    assert names(wrapper) == names(inner)


def test_the_router_belongs_to_no_expert() -> None:
    assert is_expert("decoder.layers.0.mlp.experts.local_experts.3.linear_fc1.weight")
    assert not is_expert("decoder.layers.0.mlp.router.weight")
    assert not is_expert("decoder.layers.0.mlp.linear_fc1.weight")
