"""FP8 weights: equal to the plain reference bit for bit, within the bound of e4m3, stable, and never silently wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rzero_mega.errors import UserError
from rzero_mega.weights.quantization import blockwise, e4m3, per_tensor
from tests.weights import fp8_reference

BOTH = pytest.mark.parametrize("scheme", [blockwise, per_tensor], ids=["blockwise", "per_tensor"])
# The edges of blocks, single rows and columns among them.
SIZES = st.sampled_from([1, 2, 3, 127, 128, 129, 200, 256, 300]) | st.integers(1, 300)


@st.composite
def matrices(draw: st.DrawFn) -> Tensor:
    """Weights of several dtypes and of any magnitude, which may differ from row to row, with zeros among them."""
    rows, columns = draw(SIZES), draw(SIZES)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    weight *= 2.0 ** draw(st.integers(-150, 120))
    weight *= 2.0 ** (torch.rand(rows, 1, generator=generator, dtype=torch.float64) * -draw(st.integers(0, 40))).round()
    weight[torch.rand(rows, columns, generator=generator) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 0.0
    return weight.to(draw(st.sampled_from([torch.float32, torch.bfloat16])))


def same_bits(left: Tensor, right: Tensor) -> bool:
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.view(torch.uint8).equal(right.view(torch.uint8))
    )


def of_every_weight(scales: Tensor, shape: torch.Size) -> Tensor:
    """The scale of every weight, whether there is one per block or one in all."""
    if scales.dim() == 1:
        return scales.expand(shape)
    return scales.repeat_interleave(128, 0)[: shape[0]].repeat_interleave(128, 1)[:, : shape[1]]


def quantize(scheme: ModuleType, name: str, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(quantised weight, scales)."""
    quantized = torch.empty(weight.shape, dtype=e4m3.FP8)
    scales = torch.empty(scheme.scale_shape(tuple(weight.shape)))
    scheme.quantize_into(name, weight, quantized, scales)
    return quantized, scales


def dequantize(quantized: Tensor, scales: Tensor) -> Tensor:
    """What a server computes with, in float32."""
    return quantized.float() * of_every_weight(scales, quantized.shape)


@settings(max_examples=20)
@given(matrices())
def test_blockwise_equals_the_reference_to_the_bit(weight: Tensor) -> None:
    quantized, scales = quantize(blockwise, "w", weight)
    expected, expected_scales = fp8_reference.quantize(weight, 128, 128)
    assert same_bits(quantized, expected) and same_bits(scales, expected_scales)


@settings(max_examples=20)
@given(matrices())
def test_per_tensor_equals_the_reference_to_the_bit(weight: Tensor) -> None:
    quantized, scales = quantize(per_tensor, "w", weight)
    expected, expected_scales = fp8_reference.quantize(weight, *weight.shape)
    assert same_bits(quantized, expected) and same_bits(scales, expected_scales.view(1))


@BOTH
@settings(max_examples=50)
@given(weight=matrices())
def test_the_error_is_at_most_half_a_step_of_e4m3(scheme: ModuleType, weight: Tensor) -> None:
    """Half a step is 2^-4 of a normal number and 2^-10 of the scale for a subnormal one; see e4m3.py."""
    quantized, scales = quantize(scheme, "w", weight)
    exact = weight.double()
    error = (exact - quantized.double() * of_every_weight(scales, weight.shape).double()).abs()
    bound = torch.maximum(exact.abs() * 2.0**-4, of_every_weight(scales, weight.shape).double() * 2.0**-10)
    assert bool((error <= bound * (1 + 2.0**-19)).all())


@BOTH
@settings(max_examples=50)
@given(weight=matrices())
def test_the_bound_follows_from_the_largest_weight_of_the_block(scheme: ModuleType, weight: Tensor) -> None:
    """No scale is larger than the largest weight over 448 requires, so no error exceeds a sixteenth of that weight."""
    _, scales = quantize(scheme, "w", weight)
    for row in range(0, weight.size(0), 128):
        for column in range(0, weight.size(1), 128):
            block = weight if scheme is per_tensor else weight[row : row + 128, column : column + 128]
            scale = float(of_every_weight(scales, weight.shape)[row, column])
            assert scale <= max(float(block.double().abs().max()) / 448 * (1 + 2.0**-24), e4m3.SMALLEST_SCALE)


@BOTH
@settings(max_examples=50)
@given(weight=matrices())
def test_dequantised_weights_quantise_to_themselves(scheme: ModuleType, weight: Tensor) -> None:
    quantized, scales = quantize(scheme, "w", weight)
    again, scales_again = quantize(scheme, "w", dequantize(quantized, scales))
    assert same_bits(quantized, again) and same_bits(scales, scales_again)


@BOTH
@settings(max_examples=50)
@given(weight=matrices())
def test_dequantised_is_number_times_scale_without_rounding(scheme: ModuleType, weight: Tensor) -> None:
    quantized, scales = quantize(scheme, "w", weight)
    exact = quantized.double() * of_every_weight(scales, weight.shape).double()
    seen = dequantize(quantized, scales)
    assert seen.dtype == torch.float32
    normal = exact.abs() >= 2.0**-126
    assert torch.equal(seen.double()[normal], exact[normal])
    assert torch.equal(seen, exact.float())


@BOTH
def test_every_e4m3_number_is_kept(scheme: ModuleType) -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    numbers = codes[codes % 128 != 127].view(torch.float8_e4m3fn).view(2, 127)  # without both NaN
    quantized, scales = quantize(scheme, "w", numbers.float() * 3.0)
    assert scales.flatten().tolist() == [3.0]
    assert same_bits(quantized, numbers)
    assert torch.equal(dequantize(quantized, scales), numbers.float() * 3.0)


@BOTH
def test_a_zero_block_stays_zero(scheme: ModuleType) -> None:
    quantized, scales = quantize(scheme, "w", torch.zeros(130, 7))
    assert not quantized.view(torch.uint8).any()
    assert bool((scales > 0).all()) and not dequantize(quantized, scales).any()


@BOTH
@pytest.mark.parametrize("largest", [torch.finfo(torch.float32).max, 2.0**-126, 2.0**-149])
def test_the_ends_of_float32_stay_finite(scheme: ModuleType, largest: float) -> None:
    weight = torch.tensor([[largest, -largest, largest / 3, 0.0]])
    quantized, scales = quantize(scheme, "w", weight)
    assert bool(quantized.float().isfinite().all()) and bool(scales.isfinite().all())
    error = (dequantize(quantized, scales).double() - weight.double()).abs()
    assert bool((error <= torch.clamp(weight.double().abs() * 2.0**-4, min=2.0**-136) * (1 + 2.0**-19)).all())


def test_the_largest_weight_saturates_where_the_scale_was_cut() -> None:
    """Over the cut scale the quotient exceeds 448; unclamped conversions make NaN of such numbers."""
    weight = torch.tensor([[448.0 * (1 + 2.0**-21), 1.0]])
    quantized, scales = quantize(per_tensor, "w", weight)
    assert float(weight[0, 0] / scales) > 448.0
    assert quantized.float()[0, 0] == 448.0


def test_quotients_far_beyond_the_range_saturate() -> None:
    target = torch.empty(4, dtype=torch.float8_e4m3fn)
    e4m3.round_into(target, torch.tensor([1e30, -1e30, 480.0, -465.0]))
    assert target.float().tolist() == [448.0, -448.0, 448.0, -448.0]


@BOTH
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_infinite_values_and_nan_are_refused_by_name(scheme: ModuleType, value: float, dtype: torch.dtype) -> None:
    weight = torch.ones(200, 150, dtype=dtype)
    weight[199, 149] = value
    with pytest.raises(UserError, match=r"^model\.layers\.0\.mlp\.up_proj\.weight: holds infinite values or NaN"):
        quantize(scheme, "model.layers.0.mlp.up_proj.weight", weight)


@BOTH
def test_the_weights_themselves_are_left_alone(scheme: ModuleType) -> None:
    for weight in (torch.randn(128, 256), torch.randn(130, 5)):
        before = weight.clone()
        quantize(scheme, "w", weight)
        assert torch.equal(weight, before)


@BOTH
@pytest.mark.parametrize("elements", [1, 128 * 300, 200 * 300])
def test_bands_change_nothing(scheme: ModuleType, elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(500, 300)
    whole = quantize(scheme, "w", weight)
    seen = dequantize(*whole)
    monkeypatch.setattr(e4m3, "BAND_ELEMENTS", elements)
    assert len(list(e4m3.bands(500, 300, 128))) > 1
    banded = quantize(scheme, "w", weight)
    assert same_bits(whole[0], banded[0]) and same_bits(whole[1], banded[1])
    assert same_bits(seen, dequantize(*banded))


@BOTH
def test_transposed_and_sliced_weights_are_read_as_they_look(scheme: ModuleType) -> None:
    base = torch.randn(300, 290)
    for view in (base.t(), base[:256, :256].t(), base[3:150, 5:200]):
        seen, expected = quantize(scheme, "w", view), quantize(scheme, "w", view.contiguous())
        assert same_bits(seen[0], expected[0]) and same_bits(seen[1], expected[1])


class LargestResult(TorchDispatchMode):
    """Bytes of the largest memory that any operation returned, outside of what it must not count."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.nbytes = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in self.known:
                self.nbytes = max(self.nbytes, tensor.untyped_storage().nbytes())
        return result


@BOTH
@pytest.mark.parametrize("shape", [(1024, 1024), (1000, 1050)])
def test_no_copy_on_the_way_is_larger_than_a_band(
    scheme: ModuleType, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(e4m3, "BAND_ELEMENTS", 1 << 18)
    weight = torch.randn(shape, dtype=torch.bfloat16)
    quantized = torch.empty(shape, dtype=torch.float8_e4m3fn)
    scales = torch.empty(scheme.scale_shape(shape))
    with LargestResult(weight, quantized, scales) as largest:
        scheme.quantize_into("w", weight, quantized, scales)
    padded_columns = 1152 / 1050
    assert 4 * (1 << 17) < largest.nbytes <= 4 * (1 << 18) * padded_columns


def test_block_sized_scales_cover_shapes_that_128_does_not_divide() -> None:
    assert blockwise.scale_shape((1, 1)) == (1, 1)
    assert blockwise.scale_shape((128, 129)) == (1, 2)
    assert blockwise.scale_shape((12288, 4100)) == (96, 33)


@BOTH
def test_safetensors_carries_the_result(scheme: ModuleType, tmp_path: Path) -> None:
    quantized, scales = quantize(scheme, "w", torch.randn(200, 130))
    save_file({"w": quantized, "s": scales}, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.get_slice("w").get_dtype() == "F8_E4M3" and file.get_slice("s").get_dtype() == "F32"
        assert same_bits(file.get_tensor("w"), quantized) and same_bits(file.get_tensor("s"), scales)
