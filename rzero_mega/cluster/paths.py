"""Paths of a configuration as jobs can follow them: they run in another folder than the one that submits. Pure, but for
looking at what is there.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from rzero_mega.config import Config


def with_absolute_paths(config: Config, here: Path) -> Config:
    """The configuration with every path absolute that leads, from the folder `here`, to a file or a folder.

    Names stay what they are: of hub models that are no folder here, shipped prompts, built-in benchmarks and data.
    """
    absolute: Config = _absolute(config, here, "")
    return absolute


def _absolute(node: Any, here: Path, prefix: str) -> Any:
    changed = {}
    for spec in fields(node):
        key, value = prefix + spec.name, getattr(node, spec.name)
        if is_dataclass(value):
            changed[spec.name] = _absolute(value, here, f"{key}.")
        elif spec.metadata.get("path") and isinstance(value, list):
            changed[spec.name] = [_leading(key, text, here) for text in value]
        elif spec.metadata.get("path") and value is not None:
            changed[spec.name] = _leading(key, value, here)
    return replace(node, **changed)


def _leading(key: str, text: str, here: Path) -> str:
    return str(here / text) if _is_path(key, text, here) else text


def _is_path(key: str, text: str, here: Path) -> bool:
    """Whether what the key says is a path, and not a name, where it may be either."""
    if key == "model.path":
        return (here / text).is_dir()
    if key in ("evaluation.benchmarks", "labelled.data"):
        return (here / text).is_file()
    if key.startswith("prompts.") or key.endswith(".prompt"):
        return Path(text).suffix in (".yaml", ".yml")
    return True
