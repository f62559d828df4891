"""Paths of a configuration as jobs can follow them: they run in another folder than the one that submits. Pure, but for
looking at what is there.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from rzero_mega.config import Config
from rzero_mega.config.schema.metadata import PathIf


def with_absolute_paths(config: Config, here: Path) -> Config:
    """The configuration with every path absolute that leads, from the folder `here`, to a file or a folder.

    Names stay what they are: of hub models that are no folder here, shipped prompts, built-in benchmarks and data.
    """
    absolute: Config = _absolute(config, here)
    return absolute


def _absolute(node: Any, here: Path) -> Any:
    changed = {}
    for spec in fields(node):
        value, when = getattr(node, spec.name), spec.metadata.get("path")
        if is_dataclass(value):
            changed[spec.name] = _absolute(value, here)
        elif when is not None and isinstance(value, list):
            changed[spec.name] = [_leading(text, here, when) for text in value]
        elif when is not None and value is not None:
            changed[spec.name] = _leading(value, here, when)
    return replace(node, **changed)


def _leading(text: str, here: Path, when: PathIf) -> str:
    return str(here / text) if _is_path(text, here, when) else text


def _is_path(text: str, here: Path, when: PathIf) -> bool:
    match when:
        case PathIf.ALWAYS:
            return True
        case PathIf.FOLDER:
            return (here / text).is_dir()
        case PathIf.FILE:
            return (here / text).is_file()
        case PathIf.YAML:
            return Path(text).suffix in (".yaml", ".yml")
