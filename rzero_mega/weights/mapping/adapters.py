"""The table of adapters (`learner.lora`): parameters A and B beside a weight, under PEFT's names.

An adapter is cut as its weight is: of a weight that is cut by rows, B; of one that is cut by columns, A. Layers that
are one for Megatron (queries, keys and values) share an A, which has one name here and SGLang's for the layer in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rzero_mega.weights.mapping.kinds import REPLICATED, ROW
from rzero_mega.weights.mapping.table import Entry

SHARED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
"""Names of shared A's, and of the layers that have them."""
_ONE_LAYER = {layers: shared for shared, layers in SHARED.items()}


def adapter_entries(entries: Iterable[Entry], rank: int, modules: Collection[str]) -> list[Entry]:
    """Rows of A and B for the weights of `modules` (Megatron's names) among the entries of a dense model."""
    found = []
    for entry in entries:
        layer, _, parameter = entry.megatron.rpartition(".")
        if parameter != "weight" or layer.rpartition(".")[2] not in modules:
            continue
        names = [name.removesuffix(".weight").rpartition(".") for name in entry.hf]
        place, own = names[0][0], tuple(name[2] for name in names)
        shared, columns = _ONE_LAYER.get(own, own[0]), entry.sizes[0][1]
        by_columns = entry.kind == ROW
        a = (_peft(place, shared, "A"),)
        b = tuple(_peft(place, name, "B") for name in own)
        found += [
            Entry(f"{layer}.lora.a", a, ((rank, columns),), ROW if by_columns else REPLICATED),
            Entry(
                f"{layer}.lora.b",
                b,
                tuple((rows, rank) for rows, _ in entry.sizes),
                REPLICATED if by_columns else entry.kind,
            ),
        ]
    return found


def _peft(place: str, layer: str, which: str) -> str:
    return f"base_model.model.{place}.{layer}.lora_{which}.weight"
