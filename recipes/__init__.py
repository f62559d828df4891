"""Recipes: typed Python functions that return the configuration of a run. `rzero-mega run NAME` calls `NAME.NAME()`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from rzero_mega.config import Config, load_config


def recipe_names() -> list[str]:
    """Names of the recipes that are shipped with the package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a recipe with `key=value` overrides; `name` may be a YAML file, put over `paper`."""
    if name not in recipe_names():
        return load_config(["paper", name], overrides)
    recipe = getattr(importlib.import_module(f"{__name__}.{name}"), name)
    config: Config = recipe(overrides)
    return config
