"""Tables of rules, and their expansion over a model's layers."""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.weights.mapping.kinds import Kind
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class Rule:
    """One Megatron name, the Hugging Face names it is made of, and how. `{layer}` stands for the layer's index."""

    megatron: str
    hf: tuple[str, ...]
    kind: Kind


@dataclass(frozen=True)
class Entry:
    """A rule applied to one layer: names without placeholders."""

    megatron: str
    hf: tuple[str, ...]
    kind: Kind


def expand(rules: tuple[Rule, ...], shape: ModelShape) -> list[Entry]:
    """Every tensor of the model, layer by layer, in an order that depends on the table alone."""
    entries = []
    for rule in rules:
        if "{layer}" not in rule.megatron:
            entries.append(Entry(rule.megatron, rule.hf, rule.kind))
    for layer in range(shape.layers):
        for rule in rules:
            if "{layer}" in rule.megatron:
                names = tuple(name.replace("{layer}", str(layer)) for name in rule.hf)
                entries.append(Entry(rule.megatron.replace("{layer}", str(layer)), names, rule.kind))
    return entries
