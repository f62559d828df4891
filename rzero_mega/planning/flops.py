"""Model FLOPs: what a model's matrix products take, two for every multiplication; nothing that is computed twice.

Narayanan et al., arXiv 2104.04473, appendix, with half of the attention matrix, which causality leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rzero_mega.planning.parameters import attention_weights
from rzero_mega.weights.shape import ModelShape

BACKWARD = 2
"""Forward passes that a backward pass is worth: gradients of inputs and of weights."""


@dataclass(frozen=True)
class SequenceCost:
    """FLOPs of the forward pass over a sequence of s tokens: linear * s + quadratic * s².

    The backward pass takes BACKWARD times as many of both kinds, so comparisons hold for a whole update.
    """

    linear: int
    quadratic: int

    def __call__(self, length: int) -> int:
        """FLOPs of a sequence of `length` tokens."""
        return self.linear * length + self.quadratic * length * length

    @classmethod
    def of(cls, shape: ModelShape) -> SequenceCost:
        """Of a model: its layers, and once the output layer, 2hv per token."""
        return cls(
            linear=_layers_flops(shape) + 2 * shape.hidden * shape.vocab,
            quadratic=shape.layers * attention_flops(shape),
        )


def layer_flops(shape: ModelShape) -> float:
    """Forward, per token and layer, without attention, with n heads of size d, g key-value heads and ffn f.

    Queries, keys and values 2h(n + 2g)d, their projection 2ndh, and two per element of latent attention's matrices; the
    gated MLP 6hf; of a mixture 6hf per chosen expert and for the shared one, and the router's 2h per expert. Layers
    with and without experts in the mean.
    """
    return _layers_flops(shape) / shape.layers


def _layers_flops(shape: ModelShape) -> int:
    """Of all layers."""
    attention = 2 * attention_weights(shape)
    widths = shape.expert_ffn * shape.experts_per_token + shape.shared_ffn
    mixture = 6 * shape.hidden * widths + 2 * shape.hidden * shape.experts
    mixtures = shape.expert_layers
    return shape.layers * attention + mixtures * mixture + (shape.layers - mixtures) * 6 * shape.hidden * shape.ffn


def attention_flops(shape: ModelShape) -> int:
    """Forward, per layer, times s² for a sequence of s tokens: 2nd * s²/2 of scores, as much of weighted values."""
    return shape.size("queries") + shape.size("values")


def training_flops(
    shape: ModelShape, lengths: Iterable[int], scoring_passes: int = 0, weights_train: bool = True
) -> int:
    """Of updates on sequences of these lengths, which are scored so often besides.

    Where adapters train there are no gradients of weights; the adapters' own products are left out.

    What is computed a second time (recomputation, the output layer in the backward pass) is not counted: Chowdhery et
    al., "PaLM" (arXiv 2204.02311, appendix B).
    """
    cost = SequenceCost.of(shape)
    lengths = list(lengths)
    saved = 0 if weights_train else cost.linear * sum(lengths)
    return (1 + BACKWARD + scoring_passes) * sum(cost(length) for length in lengths) - saved
