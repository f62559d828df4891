"""Which module of the model brings in the first number that is not finite: an update run again under hooks.

In the forward pass every module's inputs and outputs are inspected in the order of execution. A module whose inputs are
finite and whose outputs are not is the origin; where a module is called with inputs that are not finite while every
earlier output was, the origin is the calling module's own arithmetic. In the backward pass the gradients of the same
tensors are inspected: the gradient of an input comes out of the backward pass of the module that took it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from rzero_mega import spmd
from rzero_mega.config.schema import LossConfig
from rzero_mega.learner.batch import LocalUpdate
from rzero_mega.learner.forward_backward import accumulate_gradients
from rzero_mega.learner.megatron.compat import calls_megatron
from rzero_mega.learner.megatron.model import Model
from rzero_mega.learner.megatron.policy_model import PolicyModel, bare
from rzero_mega.learner.megatron.switches import weight_gradients_apart

MODEL, OUTPUT_LAYER, LOSS = "the model", "output_layer", "loss"
_LAYER = re.compile(r"decoder\.layers\.(\d+)")
_LOCAL_EXPERT = re.compile(r"(?<=mlp\.experts\.local_experts\.)\d+")


@dataclass(frozen=True)
class NonFiniteOrigin:
    """Where the first number that is not finite appeared.

    `module` has its global name (layers counted over the pipeline, experts over expert parallelism), or is `loss`:
    logits and what is computed from them. `what` says in words which tensor it was. `micro_batch` counts from 0 on the
    rank's data-parallel replica. `weights` are the module's own parameters that are not finite either. `order` sorts
    the origins of several ranks in time.
    """

    module: str
    phase: Literal["forward", "backward"]
    value: Literal["nan", "inf"]
    what: str
    micro_batch: int
    rank: int
    stage: int
    weights: tuple[str, ...] = ()
    order: tuple[int, ...] = ()

    def __str__(self) -> str:
        weights = f", its weights are not finite: {', '.join(self.weights)}" if self.weights else ""
        place = f"{self.phase}, micro-batch {self.micro_batch}, pipeline stage {self.stage}, rank {self.rank}"
        return f"{self.module} ({place}): {self.value} in {self.what}{weights}"


@calls_megatron
def diagnose(model: Model, update: LocalUpdate, config: LossConfig) -> NonFiniteOrigin | None:
    """Run the update again; the earliest origin over all ranks, the same on every rank. All ranks take part.

    None if every activation and gradient of single micro-batches is finite. Leaves gradients in the model's buffers.
    """
    experts_here = model.shape.experts // parallel_state.get_expert_model_parallel_world_size()
    first_expert = experts_here * parallel_state.get_expert_model_parallel_rank()
    hooks = [_ChunkHooks(chunk, number, first_expert) for number, chunk in enumerate(model.chunks)]
    try:
        for chunk_hooks in hooks:
            chunk_hooks.attach()
        with weight_gradients_apart(model.chunks):
            accumulate_gradients(model, update, config)
    finally:
        for chunk_hooks in hooks:
            chunk_hooks.detach()
    mine = _earliest(origin for chunk_hooks in hooks for origin in chunk_hooks.origins.values())
    return _earliest(origin for origin in spmd.all_gather(mine) if origin is not None)


def _earliest(origins: Iterable[NonFiniteOrigin]) -> NonFiniteOrigin | None:
    return min(origins, key=lambda origin: origin.order, default=None)


@dataclass(frozen=True)
class _Watched:
    """A tensor whose gradient is inspected: an input or output of a module, or one of its parameters.

    `met` counts the tensors in the order in which modules met them; 0 for parameters.
    """

    kind: Literal["input", "output", "parameter"]
    module: str
    caller: str
    micro_batch: int | None
    met: int = 0


class _ChunkHooks:
    """Hooks in one chunk of the model. On a rank the passes of one micro-batch end before those of the next begin."""

    def __init__(self, wrapped: torch.nn.Module, chunk: int, first_expert: int) -> None:
        """`chunk` counts the parts of the model that this rank holds; interleaved pipelines have several."""
        self.origins: dict[tuple[int, str], NonFiniteOrigin] = {}
        self._root = bare(wrapped)
        self._names = dict(_global_names(self._root, first_expert))
        stages = parallel_state.get_pipeline_model_parallel_world_size()
        self._stage = chunk * stages + parallel_state.get_pipeline_model_parallel_rank()
        self._has_loss = bool(self._root.post_process)
        self._callers: list[str] = []
        self._forwards = self._micro_batch = self._event = 0
        self._met = 0
        self._first_gradient: tuple[Tensor, _Watched] | None = None
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Put the hooks in."""
        for module, name in self._names.items():
            self._handles += [
                module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True),
                module.register_forward_hook(partial(self._leave, name), with_kwargs=True),
            ]
            for own, parameter in module.named_parameters(recurse=False):
                if parameter.requires_grad:
                    watched = _Watched("parameter", name, own, None)
                    self._handles.append(parameter.register_hook(partial(self._gradient, watched)))

    def detach(self) -> None:
        """Take the hooks out."""
        for handle in self._handles:
            handle.remove()
        self._first_gradient = None

    def _enter(self, name: str, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        if module is self._root:
            self._callers.clear()
            self._micro_batch, self._event = self._forwards, 0
            self._forwards += 1
        caller = self._callers[-1] if self._callers else MODEL
        self._callers.append(name)
        self._inspect(_inputs(args, kwargs), "input", name, caller, f"what {caller} makes of it before {name}", ())

    def _leave(self, name: str, module: torch.nn.Module, _args: Any, kwargs: Any, output: Any) -> None:
        if self._callers:
            self._callers.pop()
        caller = self._callers[-1] if self._callers else MODEL
        weights = tuple(_bad_weights(module, kwargs))
        self._inspect(list(_tensors(output)), "output", name, caller, "its output", weights)
        if module is self._root and self._has_loss:
            # The loss takes the output layer's weight by itself: no module is called for it.
            value = non_finite(self._root.output_weight)
            if value is not None:
                self._add("forward", OUTPUT_LAYER, value, "its weight", ("weight",))

    def _inspect(
        self,
        tensors: Sequence[Tensor],
        kind: Literal["input", "output"],
        name: str,
        caller: str,
        what: str,
        weights: tuple[str, ...],
    ) -> None:
        self._event += 1
        for tensor in tensors:
            value = non_finite(tensor)
            if value is not None:
                origin = caller if kind == "input" else name
                self._add("forward", origin, value, what, weights)
            # Activations that are recomputed come without a graph first; a hook on them keeps later ones from firing.
            if tensor.requires_grad and torch.is_grad_enabled():
                self._met += 1
                watched = _Watched(kind, name, caller, self._micro_batch, self._met)
                tensor.register_hook(partial(self._gradient, watched))

    def _gradient(self, watched: _Watched, gradient: Tensor) -> None:
        if watched.kind == "output" and watched.module == MODEL:
            assert watched.micro_batch is not None
            self._micro_batch, self._event = watched.micro_batch, 0
        self._event += 1
        again = self._first_gradient is not None and gradient is self._first_gradient[0]
        value = non_finite(gradient)
        if value is None or ((self._micro_batch, "backward") in self.origins and not again):
            return
        # The gradient may be seen at an outer module's input too, or on both sides of an operation that passes it on:
        # it comes out of the module that took the tensor last.
        if again and not self._is_closer(watched):
            return
        self._first_gradient = gradient, watched
        origin, what = self._origin(watched)
        self._add("backward", origin, value, what, (), replaces=again)

    def _is_closer(self, watched: _Watched) -> bool:
        assert self._first_gradient is not None
        before = self._first_gradient[1]
        return watched.kind == "input" and (before.kind != "input" or watched.met > before.met)

    def _origin(self, watched: _Watched) -> tuple[str, str]:
        if watched.kind == "input":
            return watched.module, "the gradient of its input"
        if watched.kind == "parameter":
            if watched.module == OUTPUT_LAYER:
                return LOSS, "the gradient that it gives the output layer's weight"
            return watched.module, f"the gradient of its {watched.caller}"
        if watched.module == MODEL:
            if self._has_loss:
                return LOSS, "the gradient that it gives the model's output"
            return MODEL, "the gradient that the next stage sent"
        return watched.caller, f"the gradient of what it makes of {watched.module}'s output"

    def _add(
        self,
        phase: Literal["forward", "backward"],
        module: str,
        value: Literal["nan", "inf"],
        what: str,
        weights: tuple[str, ...],
        replaces: bool = False,
    ) -> None:
        key, backward = (self._micro_batch, phase), phase == "backward"
        if key in self.origins:
            if replaces:
                self.origins[key] = replace(self.origins[key], module=module, value=value, what=what)
            return
        rank, stage = dist.get_rank(), self._stage
        order = (self._micro_batch, int(backward), -stage if backward else stage, self._event, rank)
        self.origins[key] = NonFiniteOrigin(module, phase, value, what, self._micro_batch, rank, stage, weights, order)


def non_finite(tensor: Tensor) -> Literal["nan", "inf"] | None:
    """What a tensor holds that is not finite: `nan` if any NaN, else `inf`, or None. Integers are always finite."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return None
    # Needs no copy and no mask of the tensor's size; both bounds are NaN if any element is.
    low, high = (float(bound) for bound in torch.aminmax(tensor.detach()))
    if math.isnan(low) or math.isnan(high):
        return "nan"
    return None if math.isfinite(low) and math.isfinite(high) else "inf"


def _inputs(args: Any, kwargs: Any) -> list[Tensor]:
    # A parameter among them is a weight that the module shares.
    return [tensor for tensor in _tensors((args, kwargs)) if not isinstance(tensor, torch.nn.Parameter)]


def _bad_weights(module: torch.nn.Module, kwargs: Mapping[str, Any]) -> Iterator[str]:
    given = ((name, value) for name, value in kwargs.items() if isinstance(value, torch.nn.Parameter))
    for name, weight in (*module.named_parameters(recurse=False), *given):
        if non_finite(weight) is not None:
            yield name


def _tensors(value: Any) -> Iterator[Tensor]:
    """Floating-point tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, tuple | list):
        for child in value:
            yield from _tensors(child)


def _global_names(root: PolicyModel, first_expert: int) -> Iterator[tuple[torch.nn.Module, str]]:
    """Every module of a chunk with a name that means the same on every rank."""
    layers: Any = root.decoder.layers
    for name, module in root.named_modules():
        if match := _LAYER.match(name):
            name = f"decoder.layers.{int(layers[int(match[1])].layer_number) - 1}{name[match.end() :]}"
        if match := _LOCAL_EXPERT.search(name):
            name = f"{name[: match.start()]}{int(match[0]) + first_expert}{name[match.end() :]}"
        yield module, name or MODEL
