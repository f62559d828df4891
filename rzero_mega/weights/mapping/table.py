"""Tables of rules, and their expansion over a model's layers and experts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rzero_mega.weights.mapping.kinds import Kind
from rzero_mega.weights.shape import ModelShape

Dims = tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """One Megatron name, the Hugging Face tensors it is made of, and how.

    `{layer}` and `{expert}` stand for indices. `dims` holds, for each Hugging Face tensor, what its dimensions are
    (see `ModelShape.size`). It is of all `layers`, or only of those with experts or without them.
    """

    megatron: str
    hf: tuple[str, ...]
    dims: tuple[Dims, ...]
    kind: Kind
    layers: Literal["all", "dense", "experts"] = "all"

    def has(self, layer: int, shape: ModelShape) -> bool:
        """Whether it is one of the layer's."""
        return self.layers == "all" or (self.layers == "experts") == shape.has_experts(layer)


@dataclass(frozen=True)
class Entry:
    """A rule applied to one layer or expert: names without placeholders, `sizes` the shape of each tensor of `hf`."""

    megatron: str
    hf: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...]
    kind: Kind


def hf_sizes(entries: Iterable[Entry]) -> dict[str, tuple[int, ...]]:
    """Shape of every Hugging Face tensor by its name."""
    return {name: size for entry in entries for name, size in zip(entry.hf, entry.sizes, strict=True)}


def expand(rules: tuple[Rule, ...], shape: ModelShape) -> list[Entry]:
    """Every tensor of the model, layer by layer and expert by expert, in an order that the table alone decides."""
    entries = [_entry(rule, shape, "", "") for rule in rules if "{layer}" not in rule.megatron]
    shared = [rule for rule in rules if "{layer}" in rule.megatron and "{expert}" not in rule.megatron]
    expert_rules = [rule for rule in rules if "{expert}" in rule.megatron]
    for layer in range(shape.layers):
        entries += [_entry(rule, shape, str(layer), "") for rule in shared if rule.has(layer, shape)]
        for expert in range(shape.experts if shape.has_experts(layer) else 0):
            entries += [_entry(rule, shape, str(layer), str(expert)) for rule in expert_rules]
    return entries


def _entry(rule: Rule, shape: ModelShape, layer: str, expert: str) -> Entry:
    def name(template: str) -> str:
        return template.replace("{layer}", layer).replace("{expert}", expert)

    sizes = tuple(tuple(shape.size(dim) for dim in dims) for dims in rule.dims)
    return Entry(name(rule.megatron), tuple(name(hf) for hf in rule.hf), sizes, rule.kind)
