"""FP8 with one scale per tensor, as SGLang's loader for `quant_method: fp8` without block size has it."""

from __future__ import annotations

import torch
from torch import Tensor

from rzero_mega.weights.quantization.e4m3 import bands, round_into, scales_of


def scale_shape(shape: tuple[int, ...]) -> tuple[int]:
    """Shape of a tensor's scale, whatever the tensor's own."""
    return (1,)


def quantize_into(name: str, weight: Tensor, quantized: Tensor, scales: Tensor) -> None:
    """Quantise `weight` [rows, columns] into `quantized` (float8_e4m3fn, same shape) and `scales` (float32, [1]).

    A weight is quantized * scale. Extra memory is a band's float32 copy. UserError names the tensor if it holds
    infinite values or NaN.
    """
    least, most = torch.aminmax(weight)
    largest = torch.maximum(most, least.neg()).to(torch.float32).view(1)
    scales.copy_(scales_of(largest, name))
    rows, columns = weight.shape
    for band in bands(rows, columns, multiple=1):
        round_into(quantized[band], weight[band].to(torch.float32, copy=True).div_(scales))
