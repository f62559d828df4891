"""Kernels of Megatron-core and Transformer Engine that are switched on where there is a GPU, each with what it does.

On CPUs all are off. What is left off on GPUs too, and why, stands in the learner's README.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from megatron.core.transformer.moe import moe_utils

from rzero_mega.config.schema import LearnerConfig
from rzero_mega.errors import UserError
from rzero_mega.weights.shape import ModelShape

# By which all of Transformer Engine's linear layers, grouped ones too, ask in every pass.
_IN_LAYERS = "fuse_wgrad_accumulation"


@dataclass(frozen=True)
class Kernels:
    """What the installed Transformer Engine has for experts, as Megatron-core finds it."""

    permute: bool
    """From 2.1 on."""
    route: bool
    """From 2.6 on."""

    @classmethod
    def installed(cls) -> Kernels:
        """Those that Megatron-core has imported."""
        found: Any = moe_utils
        permute = ("fused_permute_with_probs", "fused_sort_chunks_by_index_with_probs", "fused_unpermute")
        return cls(
            permute=all(getattr(found, name, None) is not None for name in permute),
            route=getattr(found, "fused_topk_with_score_function", None) is not None,
        )


@dataclass(frozen=True)
class Switches:
    """Fields of Megatron's TransformerConfig, of the same names in all supported versions."""

    bias_activation_fusion: bool = False
    """SwiGLU in one kernel, which saves its input alone."""

    masked_softmax_fusion: bool = False
    """Scaling, mask and softmax of Megatron's own attention in one kernel; Transformer Engine's has none of it."""

    persist_layer_norm: bool = False
    """Apex's persistent kernel for norms that are not Transformer Engine's."""

    apply_rope_fusion: bool = False
    """Rotary embedding in one kernel. Unfused, that of packed sequences waits for the GPU in every layer to learn their
    lengths."""

    moe_permute_fusion: bool = False
    """Tokens are brought into the order of their experts, and back, in one kernel each."""

    moe_router_fusion: bool = False
    """Softmax, choice of experts and the map of who was chosen in one kernel."""

    def settings(self) -> dict[str, bool]:
        """For TransformerConfig."""
        return asdict(self)


def switches(shape: ModelShape, learner: LearnerConfig, on_gpu: bool, kernels: Kernels) -> Switches:
    """What a model is trained with; `kernels` are what there is for experts."""
    if not (on_gpu and learner.fused_kernels):
        return Switches()
    return Switches(
        bias_activation_fusion=True,
        masked_softmax_fusion=True,
        persist_layer_norm=True,
        apply_rope_fusion=shape.latent is None or shape.latent.yarn is not None,
        moe_permute_fusion=bool(shape.experts) and kernels.permute,
        moe_router_fusion=bool(shape.experts) and kernels.route,
    )


def accumulate_in_layers(chunks: Iterable[torch.nn.Module]) -> int:
    """Let Transformer Engine's linear layers add a micro-batch's weight gradients to `main_grad` in the product itself.

    Otherwise each writes its gradient in the weight's type, and Megatron adds that: 4 bytes more to move per weight and
    micro-batch in bf16, and a sum of rounded gradients. For these layers it is what Megatron's
    `gradient_accumulation_fusion` does; set there, it also asks the output layer's module for a kernel of Apex, though
    the product of that module is never used here. Returns the number of layers; their weights must be those of a
    DistributedDataParallel.
    """
    layers = [layer for chunk in chunks for layer in chunk.modules() if hasattr(layer, _IN_LAYERS)]
    for layer in layers:
        setattr(layer, _IN_LAYERS, True)
    return len(layers)


@contextmanager
def weight_gradients_apart(chunks: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Inside, every weight's gradient of a micro-batch is a tensor that a hook can look at, not added up already.

    What autograd is given for one that is added up is memory of any content.
    """
    layers = [layer for chunk in chunks for layer in chunk.modules() if getattr(layer, _IN_LAYERS, False)]
    for layer in layers:
        setattr(layer, _IN_LAYERS, False)
    try:
        yield
    finally:
        for layer in layers:
            setattr(layer, _IN_LAYERS, True)


def check_recompute(recompute: str | None) -> None:
    """UserError if Transformer Engine's attention, which keeps no scores, is to be computed again to save them."""
    if recompute == "selective":
        raise UserError(
            "learner.recompute: selective saves nothing on GPUs: Transformer Engine's attention keeps none of what "
            "would be computed again; set it to none, or to full"
        )
