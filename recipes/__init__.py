"""Recipes: typed Python functions that return the configuration of a run. `rzero-mega run NAME` calls `NAME.NAME()`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from rzero_mega.config import Config, load_config, preset_names
from rzero_mega.config.load import what_is_no_preset
from rzero_mega.errors import UserError


def recipe_names() -> list[str]:
    """Names of the recipes that are shipped with the package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a recipe with `key=value` overrides; `name` may be a YAML file, put over `paper`.

    UserError for an unknown recipe says which one may have been meant.
    """
    if name not in recipe_names():
        if name not in preset_names() and not (Path(name).suffix in (".yaml", ".yml") and Path(name).is_file()):
            raise UserError(f"{name}: {what_is_no_preset(name, [*recipe_names(), *preset_names()])}")
        return load_config(["paper", name], overrides)
    recipe = getattr(importlib.import_module(f"{__name__}.{name}"), name)
    config: Config = recipe(overrides)
    return config


def grid_names() -> list[str]:
    """Names of the grids that are shipped with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _grids().iterdir() if file.name.endswith(".yaml"))


def grid_text(name: str) -> str:
    """The YAML of a shipped grid."""
    return (_grids() / f"{name}.yaml").read_text(encoding="utf-8")


def _grids() -> Traversable:
    return resources.files(__name__) / "grids"
