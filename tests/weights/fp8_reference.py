"""FP8 quantisation, slow and plain: one weight after another, from the definition of e4m3."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
import torch
from torch import Tensor

# The magnitudes of e4m3 in the order of their codes 0 to 126; code 127 is NaN.
MAGNITUDES = [
    (code & 7) * 2.0**-9 if code < 8 else (1 + (code & 7) / 8) * 2.0 ** ((code >> 3) - 7) for code in range(127)
]


def code_of(quotient: float) -> int:
    """Code of the nearest e4m3 number; ties go to the even mantissa, magnitudes beyond the largest to the largest."""
    magnitude = abs(quotient)
    sign = 128 if math.copysign(1.0, quotient) < 0 else 0
    if magnitude >= MAGNITUDES[-1]:
        return sign + len(MAGNITUDES) - 1
    above = bisect_left(MAGNITUDES, magnitude)
    if above == 0:
        return sign
    below = above - 1
    to_below, to_above = magnitude - MAGNITUDES[below], MAGNITUDES[above] - magnitude
    if to_below == to_above:
        return sign + (below if below % 2 == 0 else above)
    return sign + (below if to_below < to_above else above)


def scale_of(weights: list[float]) -> float:
    """The largest magnitude over 448 in float32, at least 2^-126, cut to 20 significant bits."""
    largest = np.float32(max((abs(weight) for weight in weights), default=0.0))
    mantissa, exponent = math.frexp(max(float(largest / np.float32(448)), 2.0**-126))
    return math.ldexp(math.floor(mantissa * 2**20) / 2**20, exponent)


def quantize(weight: Tensor, block_rows: int, block_columns: int) -> tuple[Tensor, Tensor]:
    """(float8_e4m3fn [rows, columns], float32 scales, one per block) of a matrix."""
    rows, columns = weight.shape
    values = weight.to(torch.float32).tolist()
    codes = torch.zeros(rows, columns, dtype=torch.uint8)
    scales = torch.zeros(math.ceil(rows / block_rows), math.ceil(columns / block_columns))
    for block_row in range(scales.size(0)):
        for block_column in range(scales.size(1)):
            inside = [
                (row, column)
                for row in range(block_row * block_rows, min(rows, (block_row + 1) * block_rows))
                for column in range(block_column * block_columns, min(columns, (block_column + 1) * block_columns))
            ]
            scale = scale_of([values[row][column] for row, column in inside])
            scales[block_row, block_column] = scale
            for row, column in inside:
                codes[row, column] = code_of(float(np.float32(values[row][column]) / np.float32(scale)))
    return codes.view(torch.float8_e4m3fn), scales
