"""Labelled fine-tuning on nano: GRPO on true answers, in one Solver phase as long as one of R-Zero's iterations."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config, load_config


def nano_labelled(overrides: Sequence[str] = ()) -> Config:
    """The Solver's phase of `nano` on 2,000 expressions with their answers; see `labelled.method` for fine-tuning."""
    return load_config(["paper", "nano", "nano_labelled"], overrides)
