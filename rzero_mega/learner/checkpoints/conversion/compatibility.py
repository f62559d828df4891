"""Whether a configuration fits the weights to be converted; the error lists every difference at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rzero_mega.learner.checkpoints.checkpoint import shape_differences
from rzero_mega.learner.checkpoints.conversion.stored_tensors import StoredTensor
from rzero_mega.learner.checkpoints.conversion.streaming import StoredWeights
from rzero_mega.weights.agreement import refuse
from rzero_mega.weights.shape import ModelShape

_OPTIMIZER = "optimizer."


def check_template(
    source: Path, weights: StoredWeights, template: Path, tensors: Sequence[StoredTensor], shape: ModelShape
) -> None:
    """UserError lists in what a checkpoint differs from what the template's config.json says."""
    saved = weights.common.get("shape")
    differences = shape_differences(saved, shape) if isinstance(saved, dict) else []
    place = f"{source} (there) and {template / 'config.json'} (here)"
    if differences:
        refuse(place, differences)
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
    refuse(place, differences)


def _fits(size: tuple[int, ...], stored: StoredTensor) -> bool:
    if stored.padded and len(size) == len(stored.whole):
        return size[0] >= stored.whole[0] and size[1:] == stored.whole[1:]
    return size == stored.whole
