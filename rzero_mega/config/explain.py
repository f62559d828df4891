"""What `rzero-mega config --explain KEY` prints: a key's type, default, range, docstring, and who sets it to what.

A field's docstring is the string literal after it. Python throws it away, so it is read from the schema's source.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from rzero_mega.config.kinds import in_words, kinds
from rzero_mega.config.preset_files import ablation_names, ablation_text, preset_names, preset_text
from rzero_mega.config.schema import Config
from rzero_mega.config.suggestions import did_you_mean
from rzero_mega.config.typed import one_line, value_in
from rzero_mega.errors import UserError
from rzero_mega.yaml_text import parse_yaml

WIDTH = 80


@dataclass(frozen=True)
class Key:
    """One key of the configuration. `section` is the dataclass whose fields lie below it, None for a value."""

    name: str
    field: Field[Any]
    docstring: str
    default: Any
    section: type[Any] | None


def explain(name: str, recipes: Mapping[str, Config] | None = None) -> str:
    """All that is known of a key, in lines of at most 80 columns where words allow it.

    `recipes` are configurations whose values are shown too, by name. UserError with a suggestion for an unknown key.
    """
    known, name = all_keys(), name.removesuffix(".")
    if name not in known:
        raise UserError(f"{name}: no such key{did_you_mean(name, list(known))}")
    key = known[name]
    return _section_text(key, known) if key.section is not None else _value_text(key, recipes or {})


@cache
def all_keys() -> dict[str, Key]:
    """Every key by its dotted name, sections included, in the order of the schema."""
    return {key.name: key for key in _keys(Config(), "")}


def field_docstrings(kind: type[Any]) -> dict[str, str]:
    """{field: docstring} of a dataclass, from its source; a field without one is missing."""
    source = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = next(node.body for node in source.body if isinstance(node, ast.ClassDef))
    found = {}
    for node, after in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = after.value if isinstance(after, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[node.target.id] = inspect.cleandoc(text.value)
    return found


def _keys(node: Any, prefix: str) -> Iterator[Key]:
    docstrings = field_docstrings(type(node))
    for spec in fields(node):
        value = getattr(node, spec.name)
        section = type(value) if is_dataclass(value) else None
        yield Key(prefix + spec.name, spec, docstrings.get(spec.name, ""), value, section)
        if section is not None:
            yield from _keys(value, f"{prefix}{spec.name}.")


def _value_text(key: Key, recipes: Mapping[str, Config]) -> str:
    facts = [("type", str(key.field.type).replace(" | None", " or null")), ("default", one_line(key.default))]
    allowed = _allowed(key.field)
    if allowed:
        facts.append(("allowed", allowed))
    facts += [(f"in {recipe}", one_line(_at(config, key.name))) for recipe, config in recipes.items()]
    facts += [(f"set by {source}", one_line(value)) for source, value in _set_by(key.name)]
    facts.append(("resumed", in_words(kinds()[key.name])))
    return f"{key.name}\n\n{_table(facts)}\n\n{_paragraphs(key.docstring)}"


def _section_text(key: Key, known: Mapping[str, Key]) -> str:
    below = [other for name, other in known.items() if name.rpartition(".")[0] == key.name]
    rows = [(other.name.rpartition(".")[2] + "." * (other.section is not None), _line(other)) for other in below]
    about = f"{key.docstring}\n\n{inspect.getdoc(key.section)}"
    return f"{key.name} (section)\n\n{_paragraphs(about)}\n\n{_table(rows)}"


def _line(key: Key) -> str:
    """The docstring's first sentence."""
    text = " ".join(key.docstring.split())
    found = re.match(r".*?[.](?=\s|$)", text)
    return found[0] if found else text


def _allowed(field: Field[Any]) -> str:
    choices, low, high = (field.metadata.get(name) for name in ("choices", "minimum", "maximum"))
    if choices:
        return ", ".join(choices)
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    if low is not None:
        return f"at least {low:g}"
    return "" if high is None else f"at most {high:g}"


def _set_by(name: str) -> Iterator[tuple[str, Any]]:
    """(preset or ablation, the value it gives the key), for those that give it one."""
    sources = {preset: preset_text(preset) for preset in preset_names()}
    sources |= {f"ablation {ablation}": ablation_text(ablation) for ablation in ablation_names()}
    for source, text in sources.items():
        with suppress(KeyError):
            yield source, value_in(Config(), parse_yaml(text, source), name)


def _at(config: Config, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _table(rows: list[tuple[str, str]]) -> str:
    """Two columns, the second wrapped."""
    indent = max(len(name) for name, _ in rows) + 4
    return "\n".join(_fill(text, f"  {name}".ljust(indent), " " * indent) for name, text in rows)


def _paragraphs(text: str) -> str:
    return "\n\n".join(_fill(" ".join(paragraph.split()), "  ", "  ") for paragraph in text.split("\n\n"))


def _fill(text: str, first: str, others: str) -> str:
    # Names and options hold hyphens, and are copied from here.
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)
