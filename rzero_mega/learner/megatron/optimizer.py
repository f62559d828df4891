"""Megatron's distributed optimizer around AdamW."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.optimizer import MegatronOptimizer, get_megatron_optimizer
from megatron.core.optimizer import OptimizerConfig as MegatronOptimizerConfig

from rzero_mega.config.schema import OptimizerConfig
from rzero_mega.learner.megatron.compat import calls_megatron
from rzero_mega.learner.megatron.model import Model


def chained(optimizer: MegatronOptimizer) -> list[Any]:
    """The optimizers that Megatron chains into this one: under expert parallelism experts have one of their own."""
    return list(getattr(optimizer, "chained_optimizers", [optimizer]))


@calls_megatron
def build_optimizer(model: Model, config: OptimizerConfig) -> MegatronOptimizer:
    """A fresh optimizer over the model's parameters; its moments are spread over the data-parallel ranks."""
    dtype = model.config.params_dtype
    settings = MegatronOptimizerConfig(
        optimizer="adam",
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        adam_beta1=config.beta1,
        adam_beta2=config.beta2,
        adam_eps=config.epsilon,
        clip_grad=config.clip_gradient_norm,
        params_dtype=dtype,
        bf16=dtype == torch.bfloat16,
        use_distributed_optimizer=True,
        # FP8 weights of all recipes but one have no flat view into which the optimizer could copy.
        fp8_recipe=model.config.fp8_recipe if model.config.fp8 else None,
    )
    optimizer = get_megatron_optimizer(settings, model.chunks, use_gloo_process_groups=False)
    model.config.grad_scale_func = optimizer.scale_loss
    return optimizer
