"""Drawing tokens: one uniform number per sample and step becomes a token by inverting the cumulative distribution."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.rollout.protocol import stream_number


def uniform_stream(key: str, index: int, length: int) -> npt.NDArray[np.float32]:
    """The first `length` numbers in [0, 1) of the stream of sample `index` of the request `key`: float32 [length].

    Philox is counter-based and NumPy keeps its raw bits stable between versions, so the numbers depend on (key, index)
    alone, whatever is drawn beside them, before them, or on another machine.
    """
    bits = np.random.Philox(key=stream_number(key, index, 16)).random_raw(length)
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def sample_tokens(logits: Tensor, uniforms: Tensor, sampling: SamplingConfig) -> tuple[Tensor, Tensor]:
    """Draw one token per row.

    Args:
        logits: [b, v], any float type; the arithmetic is float32.
        uniforms: [b], float32 in [0, 1); unused at temperature 0.
        sampling: temperature, then top_k, then top_p over what top_k left (as in Hugging Face's generate and vLLM).
            Tokens that tie with the last one kept are kept, so the outcome doesn't depend on a sort's order.

    Returns:
        tokens [b] (int64) and their log-probabilities [b] (float32) at the sampling temperature, before any filter; at
        temperature 0, at which nothing is drawn, those at temperature 1.
    """
    logits = logits.float()
    shifted = logits - logits.amax(-1, keepdim=True)
    if sampling.temperature not in (0.0, 1.0):
        shifted = shifted / sampling.temperature
    weights = shifted.exp()
    greedy = sampling.temperature == 0.0
    tokens = logits.argmax(-1) if greedy else _invert_cdf(_filter(weights, sampling), uniforms)
    logprobs = shifted.gather(-1, tokens[:, None])[:, 0] - weights.sum(-1).log()
    return tokens, logprobs


def _filter(weights: Tensor, sampling: SamplingConfig) -> Tensor:
    """Set the weights [b, v] of the tokens outside top_k and top_p to zero."""
    if 0 < sampling.top_k < weights.shape[-1]:
        last_kept = weights.topk(sampling.top_k).values[:, -1:]
        weights = weights.masked_fill(weights < last_kept, 0.0)
    if sampling.top_p < 1.0:
        weights = weights.masked_fill(weights < _least_weight_of_nucleus(weights, sampling.top_p), 0.0)
    return weights


def _least_weight_of_nucleus(weights: Tensor, top_p: float) -> Tensor:
    """Weight [b, 1] of the last token of the smallest set of most likely tokens that holds `top_p` of the mass."""
    ascending = _sort(weights)
    mass = _running_sum(ascending)
    outside = (mass <= mass[:, -1:] * (1.0 - top_p)).sum(-1, keepdim=True)
    return ascending.gather(-1, outside.clamp(max=weights.shape[-1] - 1))


def _running_sum(weights: Tensor) -> Tensor:
    """Of each row. A GPU's scan has no fixed order, and torch refuses it in a deterministic learner's process."""
    if weights.is_cuda and torch.are_deterministic_algorithms_enabled():
        return weights.cpu().cumsum(-1).to(weights.device)
    return weights.cumsum(-1)


def _sort(weights: Tensor) -> Tensor:
    """Each row ascending. On a CPU by NumPy, whose vectorised sort is twenty times as fast as torch's at v = 49,152."""
    if weights.device.type == "cpu":
        return torch.from_numpy(np.sort(weights.numpy(), axis=-1))
    return weights.sort(-1).values


def _invert_cdf(weights: Tensor, uniforms: Tensor) -> Tensor:
    """First token [b] whose cumulative weight exceeds uniform * total; never one of weight zero."""
    cumulative = _running_sum(weights)
    total = cumulative[:, -1:]
    # uniform * total may round up to the total, which no cumulative weight exceeds.
    target = torch.minimum(uniforms[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    tokens = torch.searchsorted(cumulative, target, right=True).clamp(max=weights.shape[-1] - 1)
    # A parallel scan need not be monotone to the last bit, so a step upwards can fall on a token of weight zero.
    impossible = weights.gather(-1, tokens) <= 0
    if impossible.any():
        tokens = torch.where(impossible, weights.argmax(-1, keepdim=True), tokens)
    return tokens[:, 0]
