"""The loop of `nano` on a base that repeats wrong facts: votes beat its likeliest answer, as with large models."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config, load_config


def folklore(overrides: Sequence[str] = ()) -> Config:
    """`nano` from the folklore base: same sizes, same questions, same truth."""
    return load_config(["paper", "nano", "folklore"], overrides)
