"""Recipes: typed Python functions that return the configuration of a run. `rzero-mega run NAME` calls `NAME.NAME()`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from rzero_mega.config import Config, load_config, preset_names
from rzero_mega.config.load import what_is_no_preset, with_presets
from rzero_mega.errors import UserError


def recipe_names() -> list[str]:
    """Names of the recipes that are shipped with the package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a recipe with `key=value` overrides; `name` may be a YAML file, put over `paper`.

    RECIPE+PRESET puts a preset over the recipe, nano+rzero_plus for instance; so do more of them, in order.
    UserError for an unknown recipe or preset says which one may have been meant.
    """
    name, *presets = [name] if _is_source(name) else name.split("+")
    if "" in (name, *presets):
        raise UserError(f"{'+'.join((name, *presets))}: a name is missing beside a +; it is written RECIPE+PRESET")
    if name not in recipe_names():
        if not _is_source(name):
            raise UserError(f"{name}: {what_is_no_preset(name, [*recipe_names(), *preset_names()])}")
        return load_config(["paper", name, *presets], overrides)
    recipe = getattr(importlib.import_module(f"{__name__}.{name}"), name)
    config: Config = recipe(() if presets else overrides)
    return with_presets(config, presets, overrides) if presets else config


def _is_source(name: str) -> bool:
    path = Path(name)
    return name in (*recipe_names(), *preset_names()) or (path.suffix in (".yaml", ".yml") and path.is_file())


def grid_names() -> list[str]:
    """Names of the grids that are shipped with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _grids().iterdir() if file.name.endswith(".yaml"))


def grid_text(name: str) -> str:
    """The YAML of a shipped grid."""
    return (_grids() / f"{name}.yaml").read_text(encoding="utf-8")


def _grids() -> Traversable:
    return resources.files(__name__) / "grids"
