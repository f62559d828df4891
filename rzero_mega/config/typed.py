"""Values of a dataclass out of YAML and overrides: the type of a field says what its text means.

A text is taken as it was typed: 007, on and 12:30 are texts where a text belongs. Nothing is filled in but the home
folder, for `~` at the beginning of a path.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from rzero_mega.config.suggestions import did_you_mean
from rzero_mega.errors import UserError
from rzero_mega.yaml_text import Node, Scalar, parse_yaml

T = TypeVar("T")

_INTEGER = re.compile(r"[-+]?[0-9](?:_?[0-9]){0,999}")
_DIGITS = r"[0-9](?:_?[0-9])*"
_FLOAT = re.compile(rf"[-+]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][-+]?[0-9]{{1,9}})?")
_NOT_FINITE = re.compile(r"[-+]?\.?(?:inf|nan)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


_NO_EXAMPLE = object()


@dataclass(frozen=True)
class _Place:
    """The field that is given a value: its dotted name, its metadata, and the source that errors name, if any.

    `before` is its value so far, which an error about an override shows as an example of what to write.
    """

    key: str
    metadata: Mapping[str, Any]
    source: str
    before: Any = _NO_EXAMPLE

    def at(self, part: str) -> _Place:
        return replace(self, key=self.key + part, before=_NO_EXAMPLE)

    def error(self, reason: str) -> UserError:
        if not self.source or self.before is _NO_EXAMPLE:
            return UserError(f"{self.key}: {reason}{_in(self.source)}")
        example = f"write for instance {self.key}={one_line(self.before)}"
        return UserError(f"{self.key}: {reason}{_in(self.source)}; {example}")


def merged(base: T, update: Node, source: str = "") -> T:
    """A copy of the dataclass `base` with the values that `update` names.

    UserError names the key, and the source if one is given: a key that the schema lacks, or a value of another type.
    """
    if not isinstance(update, dict):
        raise UserError(f"{source or 'the file'}: has to be a mapping of keys")
    return _merged(base, update, source, "", type(base))


def _merged(base: T, update: dict[str, Node], source: str, prefix: str, root: Any) -> T:
    known = _fields(type(base))
    changes: dict[str, Any] = {}
    for name, node in update.items():
        key = prefix + name
        if name not in known:
            raise UserError(f"{key}: no such key{_in(source)}{did_you_mean(key, list(_names(root)))}")
        before = getattr(base, name)
        if not is_dataclass(before):
            spec, kind = known[name]
            changes[name] = _value(kind, node, _Place(key, spec.metadata, source, before))
        elif isinstance(node, dict):
            changes[name] = _merged(before, node, source, f"{key}.", root)
        else:
            example = f"{key}.{next(_names(type(before)))}=..."
            raise UserError(f"{key}: is a section{_in(source)}; set a key of it, for instance {example}")
    return replace(base, **changes)  # type: ignore[type-var]


def _names(schema: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all keys, sections included."""
    for name, (_, kind) in _fields(schema).items():
        yield prefix + name
        if is_dataclass(kind):
            yield from _names(kind, f"{prefix}{name}.")


def one_line(value: Any) -> str:
    """A value as YAML writes it, on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).removesuffix("...\n").strip()


def override_node(schema: type[Any], override: str) -> Node:
    """What `key=value` says, as a mapping for `merged`. Only sections, lists and mappings are read as YAML."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"{override!r}: a setting is written key=value, for instance seed=1")
    kind: Any = schema
    for name in key.split("."):
        kind = _fields(kind)[name][1] if is_dataclass(kind) and name in _fields(kind) else None
    # A key that is not there is named with a suggestion when it is merged.
    collection = kind is not None and (is_dataclass(kind) or get_origin(kind) in (list, tuple, dict))
    node: Node = _collection(key, text) if collection else Scalar(text, plain=True)
    for name in reversed(key.split(".")):
        node = {name: node}
    return node


def node_of(value: Any) -> Node:
    """What `merged` reads back as this value of a field, or as these nested mappings of values."""
    if isinstance(value, dict):
        return {str(name): node_of(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [node_of(item) for item in value]
    if isinstance(value, str):
        return Scalar(value, plain=False)
    return Scalar("null" if value is None else str(value).lower(), plain=True)


def value_in(base: Any, node: Node, key: str) -> Any:
    """The typed value that a mapping gives to the dotted key; KeyError if it gives none."""
    parts = key.split(".")
    for name in parts:
        if not isinstance(node, dict) or name not in node:
            raise KeyError(key)
        node = node[name]
    for name in parts[:-1]:
        base = getattr(base, name)
    spec, kind = _fields(type(base))[parts[-1]]
    return _value(kind, node, _Place(key, spec.metadata, ""))


def _fields(schema: Any) -> dict[str, tuple[Field[Any], Any]]:
    """{name: (field, type)} of a dataclass."""
    return _fields_once(schema)


@cache
def _fields_once(schema: Any) -> dict[str, tuple[Field[Any], Any]]:
    hints = get_type_hints(schema)
    return {spec.name: (spec, hints[spec.name]) for spec in fields(schema)}


def _collection(key: str, text: str) -> Node:
    """A list or mapping in YAML's flow style, `[a, b]` or `{a: 1}`, with nothing behind it."""
    source = f"{key}={text}"
    try:
        node = parse_yaml(text, source)
    except UserError as error:
        raise UserError(f"{error}; quote a text that holds one of , : # [ ] {{ }}") from None
    if not isinstance(node, Scalar) and text.strip()[-1:] not in ("]", "}"):
        raise UserError(f"{source}: something follows the closing bracket; quote a text that holds #")
    return node


def _value(kind: Any, node: Node, place: _Place) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if _is_null(node, inner) else _value(inner, node, place)
    if origin in (list, tuple):
        if not isinstance(node, list):
            if isinstance(node, dict) or not node.text:
                raise place.error("is not a list" if isinstance(node, dict) else "has no value")
            raise replace(place, before=[node.text]).error(f"{node.text!r} is not a list")
        items = [_value(arguments[0], item, place.at(f"[{number}]")) for number, item in enumerate(node)]
        return tuple(items) if origin is tuple else items
    if origin is dict:
        if not isinstance(node, dict):
            raise place.error("is not a mapping, NAME: value")
        return {name: _value(arguments[1], value, place.at(f".{name}")) for name, value in node.items()}
    if is_dataclass(kind):
        return _record(kind, node, place)
    if not isinstance(node, Scalar):
        raise place.error(f"a {'list' if isinstance(node, list) else 'mapping'} is not {_KINDS[kind].words}")
    if not node.text and node.plain:
        raise place.error("has no value")
    return _KINDS[kind].read(node.text, place)


def _is_null(node: Node, kind: Any) -> bool:
    """`null` and nothing at all, without quotes; `~` as well where no text belongs."""
    if not isinstance(node, Scalar) or not node.plain:
        return False
    return node.text in ("null", "") or (kind is not str and node.text in ("~", "Null", "NULL"))


def _record(kind: Any, node: Node, place: _Place) -> Any:
    """A dataclass in a list: all of its fields, and no others."""
    known = _fields(kind)
    if not isinstance(node, dict) or set(node) != set(known):
        raise place.error(f"has to be a mapping with the keys {' and '.join(known)}")
    return kind(**{name: _value(known[name][1], value, place.at(f".{name}")) for name, value in node.items()})


def _text(text: str, place: _Place) -> str:
    if not place.metadata.get("path"):
        return text
    if _CONTROL.search(text):
        raise place.error(f"{text!r} holds a control character, which no path has; remove it")
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise place.error(f"{text!r}: there is no such home folder; write ./{text} for a folder of that name") from None


def _integer(text: str, place: _Place) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise place.error(f"{text!r} is not {_KINDS[int].words}")
    return int(text)


def _float(text: str, place: _Place) -> float:
    text = text.strip()
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    if not _FLOAT.fullmatch(text):
        raise place.error(f"{text!r} is not {_KINDS[float].words}")
    return float(text)


def _truth(text: str, place: _Place) -> bool:
    truth = _TRUTH.get(text.strip().lower())
    if truth is None:
        raise place.error(f"{text!r} is not {_KINDS[bool].words}")
    return truth


@dataclass(frozen=True)
class _Kind:
    """A type of single values: what errors call it, and how its text is read."""

    words: str
    read: Callable[[str, _Place], Any]


_KINDS = {
    str: _Kind("a text", _text),
    int: _Kind("a whole number", _integer),
    float: _Kind("a number", _float),
    bool: _Kind("true or false", _truth),
}


def _in(source: str) -> str:
    return f" (in {source})" if source else ""
