"""What both FP8 schemes share: the range of e4m3, how a scale is chosen, and passing over a matrix in bands of rows.

A weight x is stored as q = x / scale, rounded to float8_e4m3fn, so that dequantised it is q * scale. e4m3 (OCP 8-bit
floating point, https://arxiv.org/abs/2209.05433, table 1) has 3 bits of mantissa, 448 as its largest value, 2^-6 as its
smallest normal one and steps of 2^-9 below. Rounding to nearest therefore changes a weight by at most

    max(|x| * 2^-4, scale * 2^-10)

half a step of a normal number or of a subnormal one. The factor 1 + 2^-19 on top covers what float32 adds: the rounding
of the quotient, and the scale's cut (see `scales_of`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rzero_mega.errors import UserError

FP8 = torch.float8_e4m3fn
LARGEST = 448.0
# The smallest normal float32: with a smaller scale a quotient could overflow, and processors may flush it to zero.
SMALLEST_SCALE = 2.0**-126
# Elements of a band: its float32 copy takes 16 MiB, which bounds the extra memory.
BAND_ELEMENTS = 1 << 22
# A scale keeps 20 of float32's 24 significant bits. Times the 4 of an e4m3 number, the product is exact in float32:
# dequantised weights quantise to the same scale and the same numbers again.
_SCALE_MASK = ~0b1111


def scales_of(largest: Tensor, name: str) -> Tensor:
    """Scales (float32, any shape) for groups of weights whose largest magnitudes are `largest`.

    UserError names the tensor if a magnitude is infinite or not a number.
    """
    if not bool(torch.isfinite(largest).all()):
        raise UserError(f"{name}: holds infinite values or NaN, which FP8 cannot; the policy has diverged")
    scales = (largest / LARGEST).clamp_(min=SMALLEST_SCALE)
    return scales.view(torch.int32).bitwise_and_(_SCALE_MASK).view(torch.float32)


def round_into(target: Tensor, quotients: Tensor) -> None:
    """Round float32 quotients into `target` (float8_e4m3fn, same shape), saturating; `quotients` is overwritten.

    Without the clamp, what lies beyond 448 would become NaN on some devices.
    """
    target.copy_(quotients.clamp_(-LARGEST, LARGEST))


def bands(rows: int, columns: int, multiple: int) -> Iterator[slice]:
    """Slices that cover `rows` in order, each a multiple of `multiple` rows (the last may be shorter).

    A band holds at most `BAND_ELEMENTS` elements, unless `multiple` rows alone are more.
    """
    step = max(1, BAND_ELEMENTS // (max(1, columns) * multiple)) * multiple
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
