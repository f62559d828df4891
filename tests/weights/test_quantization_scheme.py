"""Which tensors become FP8, and buckets in FP8: complete, aligned, one at a time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import Bucket, to_buckets
from rzero_mega.weights.quantization.scheme import (
    FP8_BLOCK,
    FP8_TENSOR,
    SCHEMES,
    Scheme,
    is_quantized,
    quantization_config,
    quantize_stream,
)

BOTH = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES.keys())


@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe", "qwen2", "llama"])
def test_the_linear_layers_of_a_family_are_quantised_and_nothing_else(
    family: str, tiny_model: Callable[..., Any]
) -> None:
    experts = {"num_experts": 3, "moe_intermediate_size": 16, "mlp_only_layers": [1]} if family == "qwen3_moe" else {}
    model = tiny_model(family, **experts)
    linear = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }
    # transformers fuses experts in memory; checkpoints and servers name them one by one
    names = {name for name in model.state_dict() if ".experts." not in name}
    assert {name for name in names if is_quantized(name)} == linear
    assert len(linear) == (4 * 2 + 3 if experts else 7 * 2)


@pytest.mark.parametrize("part", ["gate_proj", "up_proj", "down_proj"])
def test_experts_are_quantised_and_their_router_is_not(part: str) -> None:
    assert is_quantized(f"model.layers.0.mlp.experts.127.{part}.weight")
    assert not is_quantized("model.layers.0.mlp.gate.weight")


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "lm_head.weight",
        "model.norm.weight",
        "model.layers.0.self_attn.q_norm.weight",
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.self_attn.q_proj.weight_scale_inv",
        "xmodel.layers.0.self_attn.q_proj.weight",
        "model.layers.٣.self_attn.q_proj.weight",
    ],
)
def test_other_names_are_left_alone(name: str) -> None:
    assert not is_quantized(name)


@pytest.mark.parametrize("part", ["gate_up_proj", "down_proj"])
def test_fused_experts_are_refused_rather_than_passed_on(part: str) -> None:
    """SGLang's loader of Qwen3-MoE skips names that it does not know, these among them."""
    with pytest.raises(UserError, match="fused experts"):
        is_quantized(f"model.layers.0.mlp.experts.{part}")


def weights() -> list[tuple[str, Tensor]]:
    """A model's tensors in an unhelpful order: one-byte scales' neighbours would be misaligned if order were kept."""
    generator = torch.Generator().manual_seed(3)
    shapes = {
        "model.embed_tokens.weight": (61, 48),
        "model.layers.0.self_attn.q_proj.weight": (33, 7),
        "model.layers.0.self_attn.q_proj.bias": (33,),
        "model.layers.0.input_layernorm.weight": (7,),
        "model.layers.0.mlp.up_proj.weight": (129, 257),
        "model.layers.0.mlp.gate.weight": (3, 7),
        "model.layers.0.mlp.experts.2.down_proj.weight": (1, 131),
        "model.norm.weight": (9,),
    }
    tensors = [(name, torch.randn(shape, generator=generator).bfloat16()) for name, shape in shapes.items()]
    return [*tensors, ("model.layers.0.mlp.gate.bias", torch.randn(5, generator=generator))]


@BOTH
@pytest.mark.parametrize("limit", [1, 4096, 1 << 20])
def test_every_tensor_comes_out_once_aligned_and_with_its_scales(scheme: Scheme, limit: int) -> None:
    expected: dict[str, Tensor] = {}
    for name, tensor in weights():
        if is_quantized(name):
            expected[name] = torch.empty(tensor.shape, dtype=torch.float8_e4m3fn)
            expected[scheme.scale_name(name)] = torch.empty(scheme.scale_shape(tuple(tensor.shape)))
            scheme.quantize_into(name, tensor, expected[name], expected[scheme.scale_name(name)])
        else:
            expected[name] = tensor
    assert len(expected) == len(weights()) + 3
    seen: dict[str, Tensor] = {}
    for bucket in quantize_stream(to_buckets(weights(), limit), scheme):
        end = 0
        for slot in bucket.slots:
            assert slot.start == end and slot.start % slot.dtype.itemsize == 0
            end = slot.stop
        assert bucket.data.numel() == end
        for name, tensor in bucket.tensors():
            assert name not in seen
            seen[name] = tensor.clone()
    assert seen.keys() == expected.keys()
    for name, tensor in expected.items():
        assert seen[name].dtype == tensor.dtype and seen[name].shape == tensor.shape
        assert torch.equal(seen[name].view(torch.uint8), tensor.view(torch.uint8)), name


@BOTH
def test_a_bucket_is_made_when_it_is_asked_for(scheme: Scheme) -> None:
    asked: list[int] = []

    def source() -> Iterator[Bucket]:
        for number, bucket in enumerate(to_buckets(weights(), 1)):
            asked.append(number)
            yield bucket

    for number, _ in enumerate(quantize_stream(source(), scheme)):
        assert asked == list(range(number + 1))


@BOTH
def test_one_buffer_serves_all_buckets_and_grows_without_its_predecessor(
    scheme: Scheme, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = torch.ones(8, 8), torch.ones(512, 512)
    sizes = [small, large, small, large]
    buckets = to_buckets(((f"model.layers.{i}.mlp.up_proj.weight", t) for i, t in enumerate(sizes)), 1)
    alive: list[weakref.ref[Any]] = []
    living_when_made: list[int] = []
    empty = torch.empty

    def counted(*args: Any, **keys: Any) -> Tensor:
        if keys.get("dtype") == torch.uint8:
            gc.collect()
            living_when_made.append(sum((one := ref()) is not None and one.nbytes() > 0 for ref in alive))
        made = empty(*args, **keys)
        if keys.get("dtype") == torch.uint8:
            alive.append(weakref.ref(made.untyped_storage()))
        return made

    addresses = []
    stream = quantize_stream(list(buckets), scheme)
    monkeypatch.setattr("rzero_mega.weights.quantization.scheme.torch.empty", counted)
    for _ in range(4):
        addresses.append(next(stream).data.data_ptr())
    assert addresses[1] == addresses[2] == addresses[3]
    assert len(living_when_made) == 3, "none to begin with, then one for the small bucket and one for the large"
    assert living_when_made == [0, 0, 0]


@pytest.mark.parametrize("tensor", [torch.ones(4), torch.ones(2, 3, 4), torch.ones(4, 4, dtype=torch.int32)])
def test_a_linear_layer_that_is_no_matrix_of_numbers_is_refused_by_name(tensor: Tensor) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    with pytest.raises(UserError, match=rf"^{name}: torch\.(float32|int32) \[.*\] is no matrix"):
        next(quantize_stream(to_buckets([(name, tensor)], 1), FP8_BLOCK))


def test_infinite_weights_end_the_stream_with_their_name() -> None:
    name = "model.layers.7.self_attn.o_proj.weight"
    tensors = [("model.norm.weight", torch.ones(4)), (name, torch.full((2, 2), float("inf")))]
    stream = quantize_stream(to_buckets(tensors, 1), FP8_BLOCK)
    next(stream)
    with pytest.raises(UserError, match=rf"^{name}: holds infinite"):
        next(stream)


def test_the_configuration_says_what_the_checkpoint_holds() -> None:
    block, tensor = quantization_config(FP8_BLOCK), quantization_config(FP8_TENSOR)
    assert block.pop("weight_block_size") == [128, 128]
    assert block == tensor
    assert block["quant_method"] == "fp8" and block["activation_scheme"] == "dynamic"
    assert block["modules_to_not_convert"] == ["lm_head", "mlp.gate"]


def test_scales_have_the_names_that_loaders_look_for() -> None:
    assert FP8_BLOCK.scale_name("a.weight") == "a.weight_scale_inv"
    assert FP8_TENSOR.scale_name("a.weight") == "a.weight_scale"
