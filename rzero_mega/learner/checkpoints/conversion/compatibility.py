"""Whether a configuration fits the weights to be converted; the error lists every difference at once."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from rzero_mega.errors import UserError
from rzero_mega.learner.checkpoints.checkpoint import shape_differences
from rzero_mega.learner.checkpoints.conversion.stored_tensors import StoredTensor
from rzero_mega.learner.checkpoints.conversion.streaming import StoredWeights
from rzero_mega.weights.hf_folder import HfWeights
from rzero_mega.weights.mapping import Entry, hf_sizes
from rzero_mega.weights.shape import ModelShape

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
# What old exports hold beside weights: frequencies that follow from the configuration.
_NO_WEIGHTS = re.compile(r".*rotary_emb\.inv_freq")
_LAYER = re.compile(r"model\.layers\.(\d+)\.")
_EXPERT = re.compile(r"\.mlp\.experts\.(\d+)\.")
_OPTIMIZER = "optimizer."


def check_hf_source(source: Path, weights: HfWeights, entries: Sequence[Entry], shape: ModelShape) -> None:
    """UserError lists in what the tensors of a folder differ from what its config.json says."""
    refuse_quantised(source)
    expected = hf_sizes(entries)
    there = {name for name in weights.names() if not _NO_WEIGHTS.fullmatch(name)}
    differences = []
    for what, pattern, count in (("num_hidden_layers", _LAYER, shape.layers), ("num_experts", _EXPERT, shape.experts)):
        found = _count(pattern, there)
        if found != count:
            differences.append(f"{what} is {found} by the tensors, {count} by config.json")
            there, expected = _below(pattern, min(found, count), there, expected)
    words = [(name, "is missing") for name in expected if name not in there]
    words += [(name, "is unknown to config.json") for name in there if name not in expected and name != HEAD]
    if HEAD in there and HEAD not in expected and not _is_embedding(weights):
        words.append((HEAD, "differs from the embedding, though config.json says tie_word_embeddings"))
    for name in there & set(expected):
        slot = weights.slot(name)
        if slot.shape != expected[name]:
            words.append((name, f"is {slot.shape}, {expected[name]} by config.json"))
        elif slot.dtype not in DTYPES:
            words.append((name, f"is of dtype {slot.dtype}, which is not converted"))
    _refuse(source, differences + _grouped(words))


def check_template(
    source: Path, weights: StoredWeights, template: Path, tensors: Sequence[StoredTensor], shape: ModelShape
) -> None:
    """UserError lists in what a checkpoint differs from what the template's config.json says."""
    refuse_quantised(template)
    saved = weights.common.get("shape")
    differences = shape_differences(saved, shape) if isinstance(saved, dict) else []
    place = f"{source} (there) and {template / 'config.json'} (here)"
    if differences:
        _refuse(place, differences)
    expected = {stored.key: stored for stored in tensors}
    for key in sorted({*weights.tensors, *expected}):
        if key not in weights.tensors:
            differences.append(f"{key} is missing there")
        elif key in expected:
            size = tuple(weights.tensors[key].size)
            if not _fits(size, expected[key]):
                differences.append(f"{key} is {size} there, {expected[key].whole} here")
        elif not key.startswith(_OPTIMIZER):
            differences.append(f"{key} is unknown here")
    _refuse(place, differences)


def refuse_quantised(folder: Path) -> None:
    """UserError if the configuration is of quantised weights, which have another layout."""
    try:
        config: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        quantised = config.get("quantization_config") is not None
    except (OSError, ValueError, AttributeError):
        raise UserError(f"{folder / 'config.json'}: not readable as a model configuration") from None
    if quantised:
        raise UserError(f"{folder / 'config.json'}: quantization_config: quantised models are not converted")


def _count(pattern: re.Pattern[str], names: Iterable[str]) -> int:
    return max((int(match[1]) + 1 for name in names if (match := pattern.search(name))), default=0)


def _below(
    pattern: re.Pattern[str], count: int, there: set[str], expected: dict[str, tuple[int, ...]]
) -> tuple[set[str], dict[str, tuple[int, ...]]]:
    """Without the layers (or experts) that only one side has: they are reported as a whole."""

    def kept(name: str) -> bool:
        match = pattern.search(name)
        return match is None or int(match[1]) < count

    return {name for name in there if kept(name)}, {name: size for name, size in expected.items() if kept(name)}


def _is_embedding(weights: HfWeights) -> bool:
    head, embedding = weights.slot(HEAD), weights.slot(EMBEDDING)
    same = (head.dtype, head.shape) == (embedding.dtype, embedding.shape)
    return same and torch.equal(weights.tensor(HEAD), weights.tensor(EMBEDDING))


def _fits(size: tuple[int, ...], stored: StoredTensor) -> bool:
    if stored.padded and len(size) == len(stored.whole):
        return size[0] >= stored.whole[0] and size[1:] == stored.whole[1:]
    return size == stored.whole


def _grouped(words: Iterable[tuple[str, str]]) -> list[str]:
    """What is said of several layers' tensors in the same words, said once."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, text in sorted(words):
        groups[re.sub(r"\.\d+\.", ".*.", name), text].append(name)
    return [
        f"{names[0]} {text}" if len(names) == 1 else f"{pattern} {text} ({len(names)} tensors)"
        for (pattern, text), names in groups.items()
    ]


def _refuse(place: Path | str, differences: Sequence[str]) -> None:
    if differences:
        raise UserError(f"{place}: the configuration does not fit the weights: {'; '.join(differences)}")
