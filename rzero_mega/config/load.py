"""From presets and `key=value` overrides to one checked `Config`, and back to YAML.

A source is a preset, a YAML file, or all overrides together; later ones win. A source that names an ablation gets that
ablation's values, and they lie under what the source itself says: a saved configuration, which says everything, is read
back as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rzero_mega.config.preset_files import ablation_names, ablation_text, preset_names, preset_text
from rzero_mega.config.schema import NO_ABLATION, Config
from rzero_mega.config.validate import check_fields, validate
from rzero_mega.errors import UserError, first_line

T = TypeVar("T")


def load_config(presets: Sequence[str] = (), overrides: Sequence[str] = ()) -> Config:
    """Merge presets (a shipped name or the path of a YAML file), then overrides, over the defaults of the schema.

    Raises UserError naming the key for an unknown key, a value of the wrong type or an impossible value.
    """
    merged = cast(DictConfig, OmegaConf.structured(Config))
    for preset in presets:
        merged = _with_source(merged, [(_read_preset(preset), f"preset {preset}")])
    return _overridden(merged, overrides)


def with_overrides(config: Config, overrides: Sequence[str]) -> Config:
    """A copy of `config` with the overrides merged over it, checked; UserError as of `load_config`."""
    return _overridden(cast(DictConfig, OmegaConf.structured(config)), overrides)


def load_file(schema: type[T], path: Path) -> T:
    """A YAML file over the defaults of a dataclass, its fields checked by their metadata.

    Raises UserError naming file and key for an unknown key, a wrong type, an impossible value and a missing one.
    """
    source = str(path)
    given = _parsed(path.read_text(encoding="utf-8"), source)
    merged = _merge(cast(DictConfig, OmegaConf.structured(schema)), given, source)
    try:
        loaded = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {error.full_key}: {first_line(error)}") from None
    try:
        check_fields(loaded)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return cast(T, loaded)


def config_from_yaml(path: Path) -> Config:
    """Read a configuration that `to_yaml` wrote."""
    return load_config(presets=[str(path)])


def to_yaml(config: Config) -> str:
    """The resolved configuration as YAML; `config_from_yaml` reads it back to an equal `Config`."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def presets_within(config: Config) -> list[str]:
    """Names of the shipped presets all of whose values `config` has, those with none left out."""
    values = cast(DictConfig, OmegaConf.structured(config))
    found = []
    for name in preset_names():
        preset = _read_preset(name)
        if preset and OmegaConf.merge(values, preset) == values:
            found.append(name)
    return found


def _overridden(merged: DictConfig, overrides: Sequence[str]) -> Config:
    merged = _with_source(merged, [(_read_override(override), f"{override!r}") for override in overrides])
    try:
        config = cast(Config, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or 'config'}: {first_line(error)}") from None
    validate(config)
    return config


def _read_preset(preset: str) -> Any:
    path = Path(preset)
    if preset in preset_names():
        text = preset_text(preset)
    elif path.suffix in (".yaml", ".yml") and path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        raise UserError(f"{preset}: neither a preset ({', '.join(preset_names())}) nor a YAML file")
    return _parsed(text, preset)


def _parsed(text: str, source: str) -> Any:
    try:
        # OmegaConf reads YAML with a safe loader: no Python object can come out of it.
        return OmegaConf.create(text)
    except Exception as error:
        raise UserError(f"{source}: not readable as YAML: {first_line(error)}") from None


def _read_override(override: str) -> Any:
    if "=" not in override:
        raise UserError(f"{override}: an override is written key=value")
    try:
        return OmegaConf.from_dotlist([override])
    except Exception as error:
        raise UserError(f"{override}: not readable as key=value: {first_line(error)}") from None


def _with_source(base: DictConfig, parts: Sequence[tuple[Any, str]]) -> DictConfig:
    """`base`, then the values of the ablation that the source names, then its parts, each with how errors call it."""
    named = [
        (part.get("ablation"), name) for part, name in parts if isinstance(part, DictConfig) and "ablation" in part
    ]
    if named and named[-1][0] != base.get("ablation"):
        base = _with_ablation(base, *named[-1])
    for part, name in parts:
        base = _merge(base, part, name)
    return base


def _with_ablation(base: DictConfig, ablation: Any, source: str) -> DictConfig:
    before, known = base.get("ablation"), ablation_names()
    if ablation not in (NO_ABLATION, *known):
        raise UserError(f"ablation: {ablation!r} is not one of {', '.join((NO_ABLATION, *known))} (in {source})")
    if before != NO_ABLATION:
        raise UserError(f"ablation: is {before} already, whose values would stay (in {source}); start without it")
    return _merge(base, _parsed(ablation_text(ablation), f"ablation {ablation}"), f"ablation {ablation}")


def _merge(base: DictConfig, update: Any, source: str) -> DictConfig:
    if not isinstance(update, DictConfig):
        raise UserError(f"{source}: has to be a mapping of keys")
    unknown = _unknown_key(base, update, "")
    if unknown is not None:
        raise UserError(f"{unknown[0]}: no such key (in {source}){_suggestion(*unknown)}")
    try:
        return cast(DictConfig, OmegaConf.merge(base, update))
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key or source}: {first_line(error)} (in {source})") from None


def _unknown_key(base: DictConfig, update: DictConfig, prefix: str) -> tuple[str, list[str]] | None:
    for key in update:
        name = str(key)
        if name not in base:
            return prefix + name, [str(k) for k in base]
        below, above = update._get_node(name), base._get_node(name)
        # A field that is a plain dict takes any key.
        if isinstance(below, DictConfig) and isinstance(above, DictConfig) and is_dataclass(OmegaConf.get_type(above)):
            found = _unknown_key(above, below, f"{prefix}{name}.")
            if found is not None:
                return found
    return None


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key.rsplit(".", 1)[-1], known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
