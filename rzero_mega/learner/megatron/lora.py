"""Low-rank adapters beside Megatron's parallel linear layers: LoRA, Hu et al., arXiv 2106.09685.

Megatron-Bridge has such modules; its wheel asks for transformers below 5, Transformer Engine and Mamba's CUDA kernels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.tensor_parallel import (
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
    reduce_from_tensor_model_parallel_region,
    reduce_scatter_to_sequence_parallel_region,
)
from megatron.core.tensor_parallel.layers import set_tensor_model_parallel_attributes
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from rzero_mega.config.schema import LoraConfig
from rzero_mega.weights.mapping.names import global_parameters

COLUMN = ("linear_qkv", "linear_fc1")
"""Layers whose rows are cut over tensor parallelism; those of the other ones' matrices that are cut are columns."""
NAME = "lora"
_A = f".{NAME}.a"


class Adapter(torch.nn.Module):
    """scale · B A, added to what a linear layer makes of its input: this rank's part, of a layer W [o, i].

    Of a layer whose rows are cut, a [r, i] is whole and b [o / tp, r] is cut as W is; of one whose columns are, a
    [r, i / tp] is cut and b [o, r] whole. Only the r numbers of a token between a and b travel between ranks.
    """

    def __init__(self, weight: Tensor, by_rows: bool, lora: LoraConfig, config: TransformerConfig) -> None:
        super().__init__()
        assert lora.rank is not None
        rows, columns = weight.shape
        self.by_rows, self.scale = by_rows, lora.alpha / lora.rank
        self._sequence_parallel, self.on = config.sequence_parallel, True
        self.a = torch.nn.Parameter(weight.new_empty(lora.rank, columns))
        self.b = torch.nn.Parameter(weight.new_zeros(rows, lora.rank))
        cut, whole = (self.b, self.a) if by_rows else (self.a, self.b)
        set_tensor_model_parallel_attributes(cut, True, 0 if by_rows else 1, 1)
        # Its gradient is of this rank's tokens, and Megatron sums those that are so marked over the group.
        whole.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the layer's output for its input x [t, 1, i], each in the layer's own cut."""
        return F.linear(self._exchanged(F.linear(x, self.a)), self.b) * self.scale

    def _exchanged(self, z: Tensor) -> Tensor:
        if self.by_rows:
            to = (
                gather_from_sequence_parallel_region
                if self._sequence_parallel
                else copy_to_tensor_model_parallel_region
            )
        else:
            reduced = reduce_from_tensor_model_parallel_region
            to = reduce_scatter_to_sequence_parallel_region if self._sequence_parallel else reduced
        found: Tensor = to(z)
        return found

    @torch.no_grad()
    def added_to(self, weight: Tensor) -> Tensor:
        """W + scale · B A, of this rank's shard, in its type."""
        return torch.addmm(weight.float(), self.b.float(), self.a.float(), alpha=self.scale).to(weight.dtype)


def attach_adapters(gpt: torch.nn.Module, lora: LoraConfig, config: TransformerConfig) -> None:
    """Freeze all weights and give the layers of `lora.modules` adapters, of any content until `begin_adapters`."""
    gpt.requires_grad_(False)
    for name, layer in list(gpt.named_modules()):
        module = name.rpartition(".")[2]
        if module in lora.modules and isinstance(getattr(layer, "weight", None), Tensor):
            layer.add_module(NAME, Adapter(layer.weight, module in COLUMN, lora, config))
            layer.register_forward_hook(_add)
    if config.recompute_granularity == "full" and getattr(gpt, "pre_process", False):
        # A layer that is computed again has gradients if its input does, and nothing before the first one trains.
        gpt.embedding.register_forward_hook(_require_grad)  # type: ignore[union-attr]


@torch.no_grad()
def begin_adapters(adapters: Mapping[str, Adapter], seed: int, tp: int, tp_rank: int) -> None:
    """Let B A be 0: A uniform, as PEFT has it, from a stream named by the seed and the layer; B zeros.

    Under every layout these are the same numbers.
    """
    for name, adapter in adapters.items():
        digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
        # torch takes seeds of 63 bits.
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
        rank, columns = adapter.a.shape
        width = columns if adapter.by_rows else columns * tp
        whole = (2 * torch.rand(rank, width, generator=generator) - 1) / math.sqrt(width)
        adapter.a.copy_(whole if adapter.by_rows else whole.chunk(tp, 1)[tp_rank])
        adapter.b.zero_()


def adapters_of(chunk: torch.nn.Module) -> dict[str, Adapter]:
    """The adapters of a model's chunk, by the global names of the weights that they are added to."""
    modules = {id(module.a): module for module in chunk.modules() if isinstance(module, Adapter)}
    named = global_parameters(chunk)
    return {name.removesuffix(_A) + ".weight": modules[id(p)] for name, p in named if id(p) in modules}


@contextmanager
def switched_off(adapters: Mapping[str, Adapter]) -> Iterator[None]:
    """A context in which the model is the one that the adapters were begun on."""
    for adapter in adapters.values():
        adapter.on = False
    try:
        yield
    finally:
        for adapter in adapters.values():
            adapter.on = True


class AddedWeights(Mapping[str, Tensor]):
    """Weights with their adapters' products, added when one is asked for: there is no second model.

    The last sum is kept, for who asks for it rectangle by rectangle; the weights must not change meanwhile.
    """

    def __init__(self, weights: Mapping[str, Tensor], adapters: Mapping[str, Adapter]) -> None:
        self._weights, self._adapters = weights, adapters
        self._last: tuple[str, Tensor] | None = None

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._adapters:
            return self._weights[name]
        if self._last is None or self._last[0] != name:
            self._last = None  # or two sums would be in memory
            self._last = name, self._adapters[name].added_to(self._weights[name])
        return self._last[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def _add(layer: torch.nn.Module, inputs: tuple[Any, ...], output: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
    adapter = getattr(layer, NAME)
    assert isinstance(adapter, Adapter)
    return (output[0] + adapter(inputs[0]), output[1]) if adapter.on else output


def _require_grad(_module: torch.nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return output.requires_grad_() if torch.is_grad_enabled() else output
