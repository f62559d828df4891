"""How often kernels go over memory where the learner's code decides that: its output layer, and sums of gradients."""

from __future__ import annotations

import math
from typing import Protocol

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.planning.activations import FP32
from rzero_mega.planning.memory import chunk_bytes
from rzero_mega.weights.shape import ModelShape

BF16 = 2


class Kernels(Protocol):
    """Products of the output layer, bytes that are read and written between products, and who sums gradients."""

    @property
    def backward_products(self) -> int:
        """Products of the output layer with each forward one that has gradients."""

    @property
    def sums_in_layers(self) -> bool:
        """Whether the layers' products add to the update's gradients themselves."""

    def logit_bytes(self, width: int) -> tuple[int, int]:
        """(forward, for gradients besides) per logit of `width` bytes, with what the forward product writes."""

    def chunks(self, shape: ModelShape, layout: ParallelLayout, width: int, tokens: float) -> int:
        """In how many chunks the output layer visits so many tokens on a rank."""

    def output_gradient_bytes(self, width: int, chunks: int) -> int:
        """Per entry of the output layer's gradient of a micro-batch, before it is added to the update's."""


class LearnerKernels:
    """learner/output_layer.py, which visits every logit once, and learner/megatron/switches.py."""

    backward_products = 2
    sums_in_layers = True

    def logit_bytes(self, width: int) -> tuple[int, int]:
        """As tests/learner/test_output_layer.py counts: a cast from bf16, the log-softmax; then the exponential."""
        cast = width + FP32 if width == BF16 else 0
        return width + cast + 2 * FP32, FP32 + width

    def chunks(self, shape: ModelShape, layout: ParallelLayout, width: int, tokens: float) -> int:
        """Of logits, hidden states and their gradients."""
        row = -(-shape.vocab // layout.tp)
        return math.ceil(tokens * width * (row + 2 * shape.hidden) / chunk_bytes(shape, layout))

    def output_gradient_bytes(self, width: int, chunks: int) -> int:
        """The first chunk writes it, the others add to it, and it is scaled in the end."""
        return width * (1 + 2 * (chunks - 1) + 2)


class KernelsWhenFitted:
    """As the learner was in the steps of one H100 that the shares of `assumptions.yaml` are fitted to.

    Logits existed in fp32 and were computed again going back.
    """

    backward_products = 3
    sums_in_layers = False
    ENTRIES_PER_CHUNK = 1 << 27

    def logit_bytes(self, width: int) -> tuple[int, int]:
        """Forward: the product, its fp32 copy, maximum, difference, exponential, two sums and a product.

        Backward: the product and its copy again, exponential, its factor, the gradient in bf16.
        """
        return 48, 38

    def chunks(self, shape: ModelShape, layout: ParallelLayout, width: int, tokens: float) -> int:
        """Of so many logits."""
        return math.ceil(tokens * -(-shape.vocab // layout.tp) / self.ENTRIES_PER_CHUNK)

    def output_gradient_bytes(self, width: int, chunks: int) -> int:
        """A chunk's product is written, read and added to the sum in fp32; the sum is zeroed and cast."""
        return 12 * chunks + 10


LEARNER = LearnerKernels()
