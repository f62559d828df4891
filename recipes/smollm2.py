"""SmolLM2-135M-Instruct through the same phases, small enough for a CPU. It proves that nothing depends on nano."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config, load_config


def smollm2(overrides: Sequence[str] = ()) -> Config:
    """One iteration on a real language model with its own tokenizer and chat template."""
    return load_config(["paper", "smollm2"], overrides)
