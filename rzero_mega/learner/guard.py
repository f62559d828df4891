"""Whether an update may be applied: decided before the optimizer changes anything, and alike on every rank."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from megatron.core.optimizer import MegatronOptimizer
from torch import Tensor

from rzero_mega.config.schema import GuardConfig
from rzero_mega.errors import UserError
from rzero_mega.learner.diagnosis import LOSS, NonFiniteOrigin
from rzero_mega.learner.losses.grpo import STATISTICS
from rzero_mega.learner.megatron.compat import calls_megatron
from rzero_mega.learner.megatron.model import Model
from rzero_mega.learner.megatron.process_groups import device
from rzero_mega.learner.update_batch import UpdateBatch


@dataclass(frozen=True)
class GradientCheck:
    """What one forward and backward pass gave: loss, L2 norm of the gradient before clipping, and what is wrong.

    `fault` is None where the update may be applied.
    """

    loss: float
    gradient_norm: float
    fault: str | None


@dataclass(frozen=True)
class FailedUpdate:
    """An update that was not applied. `number` counts from 1 within its step."""

    number: int
    batch: UpdateBatch
    check: GradientCheck
    origin: str

    def __str__(self) -> str:
        return f"update {self.number}: {self.check.fault}; {self.origin}"


@dataclass(frozen=True)
class ReplayResult:
    """A saved update done again: `size` micro-batches at a time (on every data-parallel rank), then whole."""

    size: int
    parts: list[GradientCheck]
    whole: GradientCheck
    origin: str


def stop_training(failed: FailedUpdate) -> None:
    """Raise a UserError; what a learner does with a failed update where nobody else decides."""
    raise UserError(f"training diverged: {failed}; lower optimizer.learning_rate")


@calls_megatron
def check_gradients(
    statistics: Tensor, model: Model, optimizer: MegatronOptimizer, config: GuardConfig
) -> GradientCheck:
    """Judge the gradients in the model's buffers by their update's `statistics` [len(STATISTICS)]; alike on every rank.

    Weights and moments stay as they are. All ranks take part.
    """
    named = dict(zip(STATISTICS, statistics.tolist(), strict=True))
    scaler_overflow = optimizer.prepare_grads()
    norm = float(optimizer.get_grad_norm())
    # The norm leaves out what tensor-parallel ranks hold several times, so every rank looks at its own buffers too.
    largest = torch.nn.utils.get_total_norm(_gradients(model), norm_type=math.inf)
    non_finite = scaler_overflow or not math.isfinite(largest)
    fault = _fault(named, norm, config)
    flags = torch.tensor([float(non_finite), float(fault is not None)], device=device())
    dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    if fault is None and flags.any():
        fault = "a gradient is not finite"
    return GradientCheck(named["loss"], norm, fault)


def describe_origin(origin: NonFiniteOrigin | None, batch: UpdateBatch, loss: float) -> str:
    """Where the first number that is not finite came from, in words.

    The inputs of the loss come after the model's forward pass, and before the gradient of anything.
    """
    if origin is None or origin.phase == "backward":
        given = batch.non_finite()
        if given is not None:
            return f"first in {LOSS}: {given}"
        if not math.isfinite(loss):
            return f"first in {LOSS}: it is {loss}, and all that it takes is finite"
    if origin is None:
        return "every activation and gradient of single micro-batches is finite"
    return f"first in {origin}"


def _gradients(model: Model) -> list[Tensor]:
    found = (getattr(parameter, "main_grad", None) for parameter in model.trained.values())
    return [gradient for gradient in found if isinstance(gradient, Tensor)]


def _fault(named: Mapping[str, float], norm: float, config: GuardConfig) -> str | None:
    wrong = [name for name, value in named.items() if not math.isfinite(value)]
    # Where the loss is not finite the other statistics may not be either, and say no more.
    faults = [f"{name} is {named[name]}" for name in (wrong[:1] if wrong[:1] == ["loss"] else wrong)]
    if not math.isfinite(norm):
        faults.append(f"gradient norm is {norm}")
    if faults:
        return ", ".join(faults)
    limit = config.maximum_gradient_norm
    if limit is not None and norm > limit:
        return f"gradient norm {norm:.6g} is above learner.guard.maximum_gradient_norm {limit:g}"
    return _difference(named, config)


def _difference(named: Mapping[str, float], config: GuardConfig) -> str | None:
    """Which difference between learner and rollout engine is past its maximum."""
    tokens = max(1.0, named["tokens"])
    for what, value, key in (
        ("log-prob difference", named["logprob_difference"] / tokens, "maximum_logprob_difference"),
        ("log-prob difference of a token", named["logprob_difference_max"], "maximum_token_difference"),
        ("KL of rollouts", named["rollout_kl"] / tokens, "maximum_rollout_kl"),
        ("share of tokens past a factor of 2", named["importance_outside"] / tokens, "maximum_importance_outside"),
    ):
        limit = getattr(config, key)
        if limit is not None and value > limit:
            return f"{what} {value:.6g} is above learner.guard.{key} {limit:g}"
    return None
