"""Layers that predict further tokens than the next (multi-token prediction), with which GLM-4.5 is published.

They lie behind the model's own layers, under the numbers that follow. Nothing here trains them, and weights that are
trained without them would no longer suit them: they are neither read nor handed on, and the configuration of a model
that is written says so. Servers draft with them for speculative decoding alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

KEY = "num_nextn_predict_layers"
_LAYER = re.compile(r"model\.layers\.(\d{1,9})\.")


def further_tensors(names: Iterable[str], config: Mapping[str, Any], layers: int) -> set[str]:
    """Those of the names that belong to such layers of a model with so many of its own, by its config.json."""
    further = config.get(KEY) or 0
    found = ((name, _LAYER.match(name)) for name in names)
    return {name for name, match in found if match and layers <= int(match[1]) < layers + further}


def without_further_layers(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of the model without them."""
    return {**config, KEY: 0} if config.get(KEY) else dict(config)
