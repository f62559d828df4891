"""Versions of weights: what a server carries during an update, and what a sample was drawn with."""

from __future__ import annotations

from collections.abc import Iterable


def unfinished(version: str) -> str:
    """The version that a server carries during the update to `version`."""
    return f"updating-{version}"


def foreign_versions(found: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """Those of a sample's versions that are not allowed, in order and once each."""
    permitted = set(allowed)
    return [version for version in dict.fromkeys(found) if version not in permitted]
