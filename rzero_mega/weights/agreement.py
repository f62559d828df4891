"""Whether a folder's tensors are those that its config.json speaks of; the error lists every difference at once."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from rzero_mega.errors import UserError
from rzero_mega.weights.further_layers import further_tensors
from rzero_mega.weights.hf_folder import HfWeights
from rzero_mega.weights.mapping import entries, hf_sizes
from rzero_mega.weights.model_files import CONFIG, INDEX, model_file, read_object, weight_map
from rzero_mega.weights.safetensors_file import read_slots
from rzero_mega.weights.shape import ModelShape

_log = logging.getLogger(__name__)
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
# What old exports hold beside weights: frequencies that follow from the configuration.
_NO_WEIGHTS = re.compile(r".*rotary_emb\.inv_freq")
_LAYER = re.compile(r"model\.layers\.(\d{1,9})\.")
_EXPERT = re.compile(r"\.mlp\.experts\.(\d{1,9})\.")
_ROWS = 1024
_MOST_SAID = 12


def check_agreement(source: Path, weights: HfWeights, shape: ModelShape) -> None:
    """UserError lists in what the tensors of a folder differ from what its config.json says."""
    expected = hf_sizes(entries(shape))
    there = {name for name in weights.names() if not _NO_WEIGHTS.fullmatch(name)}
    further = further_tensors(there, read_object(source, CONFIG), shape.layers)
    if further:
        _log.warning("%s: its layers that predict further tokens are left out (%d tensors)", source, len(further))
    there -= further
    refuse(source, _against_index(source))
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
            words.append((name, f"is of dtype {slot.dtype}; quantised or other weights are not read"))
    refuse(source, differences + grouped(words))


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
    """Whether the two hold the same numbers, compared piece by piece: each may be a gigabyte."""
    head, embedding = weights.slot(HEAD), weights.slot(EMBEDDING)
    if (head.dtype, head.shape) != (embedding.dtype, embedding.shape):
        return False
    for first in range(0, head.shape[0], _ROWS):
        pieces = [torch.empty((min(_ROWS, head.shape[0] - first), *head.shape[1:]), dtype=head.dtype) for _ in range(2)]
        for name, piece in zip((HEAD, EMBEDDING), pieces, strict=True):
            weights.read_rows(name, first, piece)
        if not torch.equal(*pieces):
            return False
    return True


def _against_index(folder: Path) -> list[str]:
    """In what the index differs from the headers of its files: one reader goes by it, another by them."""
    if model_file(folder, INDEX) is None:
        return []
    promised = weight_map(folder)
    there: dict[str, str] = {}
    differences = []
    for file in sorted(set(promised.values())):
        for slot in read_slots(folder / file):
            if slot.name in there:
                differences.append(f"{slot.name} is in {there[slot.name]} and in {file}")
            there[slot.name] = file
    words = []
    for name, file in promised.items():
        if name not in there:
            words.append((name, f"is not in {file}, though {INDEX} says so"))
        elif there[name] != file:
            words.append((name, f"is in {there[name]}, not in {file} as {INDEX} says"))
    words += [(name, f"is in {there[name]}, and {INDEX} does not name it") for name in there if name not in promised]
    return differences + grouped(words)


def grouped(words: Iterable[tuple[str, str]]) -> list[str]:
    """What is said of several layers' tensors in the same words, said once."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, text in sorted(words):
        groups[re.sub(r"\.\d+\.", ".*.", name), text].append(name)
    return [
        f"{names[0]} {text}" if len(names) == 1 else f"{pattern} {text} ({len(names)} tensors)"
        for (pattern, text), names in groups.items()
    ]


def refuse(place: Path | str, differences: Sequence[str]) -> None:
    """UserError lists the differences between weights and configuration at `place`, if there are any."""
    if differences:
        more = len(differences) - _MOST_SAID
        listed = "; ".join(differences[:_MOST_SAID]) + (f"; and {more} more" if more > 0 else "")
        raise UserError(f"{place}: the configuration does not fit the weights: {listed}")
