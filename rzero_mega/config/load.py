"""From presets and `key=value` overrides to one checked `Config`, and back to YAML.

A source is a preset, a YAML file, or all overrides together; later ones win. A source that names an ablation gets that
ablation's values, and they lie under what the source itself says: a saved configuration, which says everything, is read
back as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from rzero_mega.config.preset_files import ablation_names, ablation_text, preset_names, preset_text
from rzero_mega.config.schema import NO_ABLATION, Config
from rzero_mega.config.suggestions import alike
from rzero_mega.config.typed import merged, node_of, override_node
from rzero_mega.config.validate import check_fields, validate
from rzero_mega.errors import UserError
from rzero_mega.text_file import is_missing
from rzero_mega.yaml_text import Node, Scalar, parse_yaml, read_yaml

T = TypeVar("T")


def load_config(presets: Sequence[str] = (), overrides: Sequence[str] = ()) -> Config:
    """Merge presets (a shipped name or the path of a YAML file), then overrides, over the defaults of the schema.

    Raises UserError naming the key for an unknown key, a value of the wrong type or an impossible value.
    """
    return with_presets(Config(), presets, overrides)


def with_presets(config: Config, presets: Sequence[str], overrides: Sequence[str]) -> Config:
    """A copy of `config` with presets merged over it, then overrides, checked; UserError as of `load_config`."""
    config = deepcopy(config)
    for preset in presets:
        config = _with_source(config, [(_read_preset(preset), f"preset {preset}")])
    return _overridden(config, overrides)


def with_overrides(config: Config, overrides: Sequence[str]) -> Config:
    """A copy of `config` with the overrides merged over it, checked; UserError as of `load_config`."""
    return with_presets(config, (), overrides)


def load_file(schema: type[T], path: Path) -> T:
    """A YAML file over the defaults of a dataclass, its fields checked by their metadata.

    Raises UserError naming file and key for an unknown key, a wrong type and an impossible value.
    """
    given = read_yaml(path)
    try:
        loaded = merged(schema(), given)
        check_fields(loaded)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return loaded


def config_from_yaml(path: Path) -> Config:
    """Read a configuration that `to_yaml` wrote."""
    return load_config(presets=[str(path)])


def config_from_values(values: Mapping[str, Any], source: str) -> Config:
    """A configuration out of nested mappings, as `asdict` makes them; `source` is what errors call them."""
    return _overridden(_with_source(Config(), [(node_of(dict(values)), source)]), [])


def to_yaml(config: Config) -> str:
    """The resolved configuration as YAML; `config_from_yaml` reads it back to an equal `Config`."""
    values = asdict(config)
    text = _dumped(values, allow_unicode=True)
    # What no terminal shows, and line breaks of some programs, go into escapes.
    return text if text.replace("\n", "").isprintable() else _dumped(values, allow_unicode=False)


def presets_within(config: Config) -> list[str]:
    """Names of the shipped presets all of whose values `config` has, those with none left out."""
    found = []
    for name in preset_names():
        preset = _read_preset(name)
        if preset and merged(config, preset, f"preset {name}") == config:
            found.append(name)
    return found


def _dumped(values: dict[str, Any], allow_unicode: bool) -> str:
    return yaml.safe_dump(values, default_flow_style=False, allow_unicode=allow_unicode, sort_keys=False)


def _overridden(config: Config, overrides: Sequence[str]) -> Config:
    config = _with_source(config, [(override_node(Config, override), f"{override!r}") for override in overrides])
    _refuse_interpolations(config, "")
    validate(config)
    return config


def what_is_no_preset(name: str, known: Sequence[str]) -> str:
    """What is wrong with a name that is neither one of `known` nor a YAML file, and what was meant."""
    if "=" in name:
        return "the recipe goes before key=value settings, for instance nano"
    path = Path(name)
    if (path / "config.yaml").is_file():
        return f"is a folder; its configuration is {path / 'config.yaml'}"
    close = alike(path.name.removesuffix("-Base"), known)
    hint = f"did you mean {close}?" if close else f"there are {', '.join(dict.fromkeys(known))}"
    if path.suffix in (".yaml", ".yml"):
        return f"no such file; {hint}"
    return f"no such recipe, preset or YAML file; {hint}"


def _refuse_interpolations(node: Any, prefix: str) -> None:
    """`${...}` in a single text was meant to become something else, and nothing does: a value could be a secret's."""
    for spec in fields(node):
        value = getattr(node, spec.name)
        if is_dataclass(value):
            _refuse_interpolations(value, f"{prefix}{spec.name}.")
        elif isinstance(value, str) and "${" in value:
            key = prefix + spec.name
            raise UserError(f'{key}: {value} is not filled in; write the value, or "{key}=$NAME" in the shell')


def _read_preset(preset: str) -> Node:
    path = Path(preset)
    if preset in preset_names():
        return parse_yaml(preset_text(preset), preset)
    if path.suffix in (".yaml", ".yml") and not is_missing(path):
        return read_yaml(path)
    raise UserError(f"{preset}: {what_is_no_preset(preset, preset_names())}")


def _with_source(base: Config, parts: Sequence[tuple[Node, str]]) -> Config:
    """`base`, then the values of the ablation that the source names, then its parts, each with how errors call it."""
    named = [(part["ablation"], name) for part, name in parts if isinstance(part, dict) and "ablation" in part]
    if named:
        ablation, source = named[-1]
        if isinstance(ablation, Scalar) and ablation.text != base.ablation:
            base = _with_ablation(base, ablation.text, source)
    for part, name in parts:
        base = merged(base, part, name)
    return base


def _with_ablation(base: Config, ablation: str, source: str) -> Config:
    known = ablation_names()
    if ablation not in (NO_ABLATION, *known):
        raise UserError(f"ablation: {ablation!r} is not one of {', '.join((NO_ABLATION, *known))} (in {source})")
    if base.ablation != NO_ABLATION:
        raise UserError(
            f"ablation: is {base.ablation} already, whose values would stay (in {source}); start without it"
        )
    name = f"ablation {ablation}"
    return merged(base, parse_yaml(ablation_text(ablation), name), name)
