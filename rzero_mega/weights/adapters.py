"""Adapters of a base on their way to servers, in the form of Hugging Face's PEFT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from rzero_mega.config.schema import LoraConfig
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.mapping.adapters import SHARED
from rzero_mega.weights.sources import WeightSource

LAYERS = {
    "linear_qkv": SHARED["qkv_proj"],
    "linear_proj": ("o_proj",),
    "linear_fc1": SHARED["gate_up_proj"],
    "linear_fc2": ("down_proj",),
}
"""Megatron's layers by their Hugging Face names."""


@dataclass(frozen=True)
class Adapters:
    """Adapters that can be streamed again and again (`mapping.adapters` has the names); what they are of."""

    source: WeightSource
    lora: LoraConfig


@dataclass(frozen=True)
class AdaptedWeights:
    """`WeightSource` of a base with its adapters added. Who has the base can take the adapters alone."""

    sums: WeightSource
    adapters: Adapters

    def __iter__(self) -> Iterator[Bucket]:
        return iter(self.sums)


@runtime_checkable
class HasAdapters(Protocol):
    """A source that may be one with adapters apart."""

    @property
    def adapters(self) -> Adapters | None:
        """The adapters; None if all weights are streamed as they are."""
        ...


def adapters_in(source: WeightSource) -> Adapters | None:
    """The adapters of a source that has them apart."""
    return source.adapters if isinstance(source, HasAdapters) else None


def hf_modules(lora: LoraConfig) -> list[str]:
    """The layers that have adapters, by their Hugging Face names."""
    return [name for module in lora.modules for name in LAYERS[module]]


def peft_config(lora: LoraConfig) -> dict[str, Any]:
    """What PEFT's adapter_config.json says."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": hf_modules(lora),
    }


def peft_tensors(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Copies of a stream's tensors under PEFT's names: each layer gets the A that it shares."""
    found = {}
    for name, tensor in tensors:
        own = tensor.clone()
        place, layer, rest = _split(name)
        for one in SHARED.get(layer, (layer,)):
            found[f"{place}.{one}.{rest}"] = own
    return found


def _split(name: str) -> tuple[str, str, str]:
    place, layer, which, weight = name.rsplit(".", 3)
    return place, layer, f"{which}.{weight}"
