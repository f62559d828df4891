"""The loop of `nano` where answers have scores and none is simply right: rows of words, to be written better."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config, load_config


def rewriting(overrides: Sequence[str] = ()) -> Config:
    """`nano` in the domain `rewriting`, from its base: rewarded by brevity, measured by hidden quality."""
    return load_config(["paper", "nano", "rewriting"], overrides)
