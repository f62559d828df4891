"""SmolLM2-135M-Instruct on word problems that people wrote, two iterations, small enough for two CPU cores."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config, load_config


def smollm2_words(overrides: Sequence[str] = ()) -> Config:
    """Base against two Solvers on MAWPS, SVAMP, ASDiv and GSM8K, whose files lie in evaluation.data."""
    return load_config(["paper", "smollm2", "smollm2_words"], overrides)
