"""FP8 with one scale per block of 128×128 weights, as DeepSeek's checkpoints and SGLang have it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from rzero_mega.weights.quantization.e4m3 import bands, round_into, scales_of

BLOCK = 128


def scale_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Shape of the scales of a matrix [rows, columns]: one per block, those cut short at the edges included."""
    rows, columns = shape
    return -(-rows // BLOCK), -(-columns // BLOCK)


def quantize_into(name: str, weight: Tensor, quantized: Tensor, scales: Tensor) -> None:
    """Quantise `weight` [rows, columns] into `quantized` (float8_e4m3fn, same shape) and `scales` (float32).

    `scales` has the shape of `scale_shape`; a weight is quantized * its block's scale. Extra memory is a band's float32
    copy, two where blocks are cut short. UserError names the tensor if it holds infinite values or NaN.
    """
    rows, columns = weight.shape
    for band in bands(rows, columns, BLOCK):
        _quantize_band(name, weight[band], quantized[band], scales[_block_rows(band)])


def _block_rows(band: slice) -> slice:
    """Rows of scales that belong to a band of weights."""
    return slice(band.start // BLOCK, -(-band.stop // BLOCK))


def _quantize_band(name: str, weight: Tensor, quantized: Tensor, scales: Tensor) -> None:
    rows, columns = weight.shape
    whole = weight.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    if rows % BLOCK or columns % BLOCK:
        whole = pad(whole, (0, -columns % BLOCK, 0, -rows % BLOCK))
    blocks = whole.view(-1, BLOCK, whole.size(1) // BLOCK, BLOCK)
    largest = torch.maximum(blocks.amax((1, 3)), blocks.amin((1, 3)).neg_())
    scales.copy_(scales_of(largest, name))
    blocks.div_(scales[:, None, :, None])
    round_into(quantized, whole[:rows, :columns])
