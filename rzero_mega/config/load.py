"""From presets and `key=value` overrides to one checked `Config`, and back to YAML.

A source is a preset, a YAML file, or all overrides together; later ones win. A source that names an ablation gets that
ablation's values, and they lie under what the source itself says: a saved configuration, which says everything, is read
back as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from omegaconf import BooleanNode, Container, DictConfig, FloatNode, IntegerNode, ListConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rzero_mega.config.preset_files import ablation_names, ablation_text, preset_names, preset_text
from rzero_mega.config.schema import NO_ABLATION, Config
from rzero_mega.config.suggestions import alike, did_you_mean
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


def config_from_values(values: Mapping[str, Any], source: str) -> Config:
    """A configuration out of nested mappings, as `asdict` makes them; `source` is what errors call them."""
    merged = cast(DictConfig, OmegaConf.structured(Config))
    return _overridden(_with_source(merged, [(OmegaConf.create(dict(values)), source)]), [])


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


def _read_preset(preset: str) -> Any:
    path = Path(preset)
    if preset in preset_names():
        text = preset_text(preset)
    elif path.suffix in (".yaml", ".yml") and path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        raise UserError(f"{preset}: {what_is_no_preset(preset, preset_names())}")
    return _parsed(text, preset)


def _parsed(text: str, source: str) -> Any:
    try:
        # OmegaConf reads YAML with a safe loader: no Python object can come out of it.
        return OmegaConf.create(text)
    except Exception as error:
        raise UserError(f"{source}: not readable as YAML: {first_line(error)}") from None


def _read_override(override: str) -> Any:
    if not override.partition("=")[0].strip() or "=" not in override:
        raise UserError(f"{override!r}: a setting is written key=value, for instance seed=1")
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
        raise UserError(f"{unknown}: no such key (in {source}){did_you_mean(unknown, list(_names(base)))}")
    try:
        return cast(DictConfig, OmegaConf.merge(base, update))
    except (OmegaConfBaseException, TypeError, ValueError, ArithmeticError) as error:
        # A mapping for a list is a TypeError of OmegaConf's, without a key.
        raise UserError(_refusal(base, update, error, source)) from None


def _refusal(base: DictConfig, update: DictConfig, error: Exception, source: str) -> str:
    """Why a value does not fit its key, and what would."""
    key = str(getattr(error, "full_key", None) or "") or _misfit(base, update, "") or ""
    node, given = _node_at(base, key), _node_at(update, key)
    if node is None or given is None:
        return f"{key or source}: {first_line(error)} (in {source})"
    if isinstance(node, DictConfig):
        return f"{key}: is a section (in {source}); set a key of it, for instance {next(_names(node, f'{key}.'))}=..."
    value = _plain(given)
    what = "has no value" if value is None else f"{value!r} is not {_KINDS.get(type(node), 'a text')}"
    example = [value] if isinstance(node, ListConfig) and isinstance(value, str | int | float) else _plain(node)
    text = yaml.safe_dump(example, default_flow_style=True, width=10**6, allow_unicode=True)
    written = text.removesuffix("...\n").strip()
    return f"{key}: {what} (in {source}); write for instance {key}={written}"


_KINDS = {BooleanNode: "true or false", IntegerNode: "a whole number", FloatNode: "a number", ListConfig: "a list"}


def _node_at(root: DictConfig, key: str) -> Node | None:
    node: Node | None = root
    for part in key.split("."):
        inside = isinstance(node, DictConfig) and part in node
        node = cast("Node | None", cast(DictConfig, node)._get_node(part)) if inside else None
    return node


def _misfit(base: DictConfig, update: DictConfig, prefix: str) -> str | None:
    """The first key that is given a value of another kind than its own: section, mapping, list or plain value."""
    for key in map(str, update):
        below, above = update._get_node(key), base._get_node(key)
        if isinstance(above, Container) and (type(below) is not type(above) or below._is_none()):
            return prefix + key
        section = isinstance(above, DictConfig) and is_dataclass(OmegaConf.get_type(above))
        found = _misfit(cast(DictConfig, above), cast(DictConfig, below), f"{prefix}{key}.") if section else None
        if found is not None:
            return found
    return None


def _plain(node: Node) -> Any:
    return OmegaConf.to_container(node, resolve=False) if isinstance(node, Container) else node._value()


def _names(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """The dotted names of all keys, sections included."""
    for key in node:
        yield f"{prefix}{key}"
        below = node._get_node(str(key))
        if isinstance(below, DictConfig) and is_dataclass(OmegaConf.get_type(below)):
            yield from _names(below, f"{prefix}{key}.")


def _unknown_key(base: DictConfig, update: DictConfig, prefix: str) -> str | None:
    for key in update:
        name = str(key)
        if name not in base:
            return prefix + name
        below, above = update._get_node(name), base._get_node(name)
        # A field that is a plain dict takes any key.
        if isinstance(below, DictConfig) and isinstance(above, DictConfig) and is_dataclass(OmegaConf.get_type(above)):
            found = _unknown_key(above, below, f"{prefix}{name}.")
            if found is not None:
                return found
    return None
