"""The whole loop on two CPU cores in minutes: a model of a million parameters that does arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config, load_config


def nano(overrides: Sequence[str] = ()) -> Config:
    """The paper's algorithm on the nano base, two data-parallel processes."""
    return load_config(["paper", "nano"], overrides)
