"""The YAML files in `presets/`: presets by name, and in `presets/ablations/` the ablations. Knows no key of them."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable


def preset_names() -> list[str]:
    """Names of the presets that are shipped with the package."""
    return _names(_presets())


def preset_text(name: str) -> str:
    """The YAML of a shipped preset."""
    return (_presets() / f"{name}.yaml").read_text(encoding="utf-8")


def ablation_names() -> list[str]:
    """Names of the ablations."""
    return _names(_ablations())


def ablation_text(name: str) -> str:
    """The YAML of an ablation: the values that make it one."""
    return (_ablations() / f"{name}.yaml").read_text(encoding="utf-8")


def _presets() -> Traversable:
    return resources.files("rzero_mega.config") / "presets"


def _ablations() -> Traversable:
    return _presets() / "ablations"


def _names(folder: Traversable) -> list[str]:
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))
