"""The average of two models' weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights.hf_folder import HfWeights


def averaged(tensors: Iterable[tuple[str, Tensor]], share: float, anchor: Path) -> Iterator[tuple[str, Tensor]]:
    """(1 - share) x tensor + share x the folder's tensor of that name, one by one; in fp32, then in the stream's dtype.

    Linear interpolation of fine-tuned models, as in WiSE-FT (arXiv 2109.01903) and WARP (arXiv 2406.16768). UserError
    names a tensor that the folder lacks or has in another shape. With a share of 0 it isn't read.
    """
    if not share:
        yield from tensors
        return
    with HfWeights(anchor) as weights:
        for name, tensor in tensors:
            yield name, _average(tensor, share, weights, name)


def _average(tensor: Tensor, share: float, weights: HfWeights, name: str) -> Tensor:
    anchor = weights.tensor(name)
    if anchor.shape != tensor.shape:
        raise UserError(f"{name}: shape {tuple(anchor.shape)} can't be averaged with {tuple(tensor.shape)}")
    anchor = anchor.to(tensor.device, torch.float32)
    return torch.lerp(tensor.float(), anchor, share).to(tensor.dtype)
