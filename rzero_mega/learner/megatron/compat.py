"""Megatron-core on a machine without CUDA. Everything here does nothing where CUDA is present.

Two mechanisms cover what Megatron-core takes for granted:

- `install()` gives the names of `torch.cuda` that Megatron calls a CPU meaning (`torch.cpu` has functions of the same
  names), once per process;
- `cuda_literals_mean_cpu()` is a context in which the literal device "cuda" of a torch call is read as "cpu", and in
  which a tensor reports its type under the `torch.cuda` name that the optimizer compares with. A torch function mode
  does that without touching Megatron's code; it costs about a microsecond per torch call and is entered only around
  calls into Megatron.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import torch
from torch.overrides import TorchFunctionMode

P = ParamSpec("P")
R = TypeVar("R")


class _CpuStream(torch.cpu.Stream):
    """`torch.cpu.Stream` whose `record_event` returns an event, as CUDA's does."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None: ...

    def record_event(self, event: Any = None) -> Any:
        return event or torch.cpu.Event()


class _CudaLiteralsMeanCpu(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if kwargs and "device" in kwargs and _is_cuda(kwargs["device"]):
            kwargs = {**kwargs, "device": "cpu"}
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:
            return func(*args).replace("torch.", "torch.cuda.", 1)
        return func(*args, **(kwargs or {}))


def _is_cuda(device: Any) -> bool:
    return device == "cuda" or (isinstance(device, torch.device) and device.type == "cuda")


def cuda_literals_mean_cpu() -> contextlib.AbstractContextManager[Any]:
    """Context for calls into Megatron-core; empty where CUDA is present."""
    return contextlib.nullcontext() if torch.cuda.is_available() else _CudaLiteralsMeanCpu()


def calls_megatron(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` inside `cuda_literals_mean_cpu()`."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with cuda_literals_mean_cpu():
            return function(*args, **kwargs)

    return wrapper


@functools.cache
def install() -> None:
    """Give Megatron-core's uses of `torch.cuda` a CPU meaning. Call before calling anything of Megatron's."""
    if torch.cuda.is_available():
        return
    cuda: Any = torch.cuda
    stream = _CpuStream()
    cuda.current_device = torch.cpu.current_device
    cuda.synchronize = torch.cpu.synchronize
    cuda.Event = torch.cpu.Event
    cuda.stream = torch.cpu.stream
    cuda.Stream = _CpuStream
    cuda.current_stream = cuda.default_stream = lambda *_args, **_kwargs: stream
    cuda.get_rng_state = lambda *_args, **_kwargs: torch.get_rng_state()
    cuda.manual_seed = torch.manual_seed
    tensor: Any = torch.Tensor
    tensor.cuda = lambda self, *_args, **_kwargs: self
    _keep_rng_on_cpu()
    _adam_shaped_like_fused_adam()
    _many_tensors_without_kernels()
    _route_tokens_on_cpu()
    _exchange_unequal_parts_over_gloo()
    _latent_attention_without_transformer_engine()


def _keep_rng_on_cpu() -> None:
    from megatron.core.tensor_parallel import random as megatron_random

    module: Any = megatron_random
    module._get_cuda_rng_state = lambda *_args, **_kwargs: torch.get_rng_state()
    module._set_cuda_rng_state = lambda state, *_args, **_kwargs: torch.set_rng_state(state)


def _adam_shaped_like_fused_adam() -> None:
    # The distributed optimizer saves and reloads moments only for an Adam whose `step` lives in the param group.
    from megatron.core import optimizer as megatron_optimizer
    from megatron.core.optimizer import distrib_optimizer

    from rzero_mega.learner.megatron.adam import GroupStepAdamW

    chooser: Any = megatron_optimizer
    chooser.Adam, chooser.USING_PYTORCH_OPTIMIZER = GroupStepAdamW, False
    distributed: Any = distrib_optimizer
    distributed.Adam = GroupStepAdamW
    distributed.HAVE_APEX_OR_TE = distributed.USING_TE_OPTIMIZER = True


def _many_tensors_without_kernels() -> None:
    # Where Transformer Engine is installed and no GPU is seen, its CUDA kernels would take norms of gradients and scale
    # them.
    from megatron.core import utils
    from megatron.core.optimizer import clip_grads, optimizer

    for module in (clip_grads, optimizer):
        chosen: Any = module
        chosen.multi_tensor_applier = utils.local_multi_tensor_applier
        chosen.multi_tensor_scale_impl = utils.local_multi_tensor_scale
    clipping: Any = clip_grads
    clipping.l2_norm_impl, clipping.multi_tensor_scale_tensor_impl = utils.local_multi_tensor_l2_norm, None


def _route_tokens_on_cpu() -> None:
    # Without Transformer Engine the router looks up a name that its module does not define; the dispatcher moves
    # counts to the host through a CUDA stream.
    from megatron.core.transformer.moe import moe_utils, token_dispatcher

    utils: Any = moe_utils
    if not hasattr(utils, "te_general_gemm"):
        utils.te_general_gemm = None
    dispatcher: Any = token_dispatcher
    dispatcher.maybe_move_tensor_to_cpu = _already_on_cpu


def _already_on_cpu(tensor: Any, as_numpy: bool = False, record_stream: bool = False) -> Any:
    return tensor.numpy() if as_numpy and torch.is_tensor(tensor) else tensor


def _latent_attention_without_transformer_engine() -> None:
    # Megatron-core 0.16.1 asks whether a layer is of a class of Transformer Engine's that it has not got.
    from megatron.core.transformer import multi_latent_attention

    module: Any = multi_latent_attention
    module.HAVE_TE = module.HAVE_TE and isinstance(module.TELinear, type)


def _exchange_unequal_parts_over_gloo() -> None:
    # Ranks that share an expert have unequal numbers of tokens for it; gloo gathers and scatters equal parts only.
    from megatron.core.tensor_parallel import mappings

    module: Any = mappings
    gather, scatter = module._gather_along_first_dim, module._reduce_scatter_along_first_dim

    def gather_along_first_dim(input_: Any, group: Any, output_split_sizes: Any = None, *rest: Any) -> Any:
        if output_split_sizes is None or group.size() == 1:
            return gather(input_, group, output_split_sizes, *rest)
        parts = [input_.new_empty(size, *input_.shape[1:]) for size in output_split_sizes]
        parts[group.rank()] = input_.contiguous()
        for rank, part in enumerate(parts):
            torch.distributed.broadcast(part, group_src=rank, group=group)
        return torch.cat(parts)

    def reduce_scatter_along_first_dim(input_: Any, group: Any, input_split_sizes: Any = None, *rest: Any) -> Any:
        if input_split_sizes is None or group.size() == 1:
            return scatter(input_, group, input_split_sizes, *rest)
        total = input_.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total, group=group)
        return total.split(input_split_sizes)[group.rank()].clone()

    module._gather_along_first_dim = gather_along_first_dim
    module._reduce_scatter_along_first_dim = reduce_scatter_along_first_dim
