"""SmolLM2-135M-Instruct where no answer is simply right: summaries, scored by a Critic that learns beside the roles."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config, load_config


def smollm2_summaries(overrides: Sequence[str] = ()) -> Config:
    """One iteration of three roles on a real language model, small enough for a CPU."""
    return load_config(["paper", "smollm2", "smollm2_summaries"], overrides)
