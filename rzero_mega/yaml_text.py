"""YAML as it was typed: scalars stay text, and what they mean is up to the schema of whoever reads them.

YAML itself guesses: 007 is a number, 12:30 another one, on is true, and 2024-01-01 a date. Nothing is guessed here, and
no object is built. Keys that appear twice, tags, and what is nested without end are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import yaml

from rzero_mega.errors import UserError
from rzero_mega.text_file import read_text

DEEPEST = 16
# Line breaks to YAML, and to few who type them.
_BREAK = re.compile("[\x85\u2028\u2029]")


@dataclass(frozen=True)
class Scalar:
    """A text of a file. `plain` if it stands there without quotes, and is no block."""

    text: str
    plain: bool


# A quoted union: the two collections hold nodes again.
Node = Union[Scalar, "list[Node]", "dict[str, Node]"]


def read_yaml(path: Path) -> Node:
    """The one document of a YAML file. UserError names file and line."""
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, source: str) -> Node:
    """The one document of a text, an empty mapping if there is none; all of the text counts, but for comments.

    UserError names `source` and the line, also for a key that appears twice in a mapping.
    """
    stray = _BREAK.search(text)
    if stray is not None:
        line, character = text.count("\n", 0, stray.start()) + 1, ord(stray[0])
        escape = f"write it as \\u{character:04x} in double quotes, or remove it"
        raise UserError(f"{source}: line {line} holds U+{character:04X}, which breaks the line in YAML; {escape}")
    return _Tree(source).built(_events(text, source))


def _events(text: str, source: str) -> Iterator[Any]:
    """PyYAML's events, of which none makes an object; its own recursion begins behind them."""
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark is not None else ""
        reason = " ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{source}: not readable as YAML: {where}{reason}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise UserError(f"{source}: line {line} holds the control character U+{code:04X}; remove it") from None
    except (ValueError, OverflowError) as error:  # an escape that is no character
        raise UserError(f"{source}: not readable as YAML: {error}") from None


@dataclass
class _Open:
    """A collection whose end has not come. `key` is that of the entry which comes next, in a mapping."""

    node: list[Node] | dict[str, Node]
    anchor: str | None
    key: str | None = None


@dataclass
class _Tree:
    source: str
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    roots: list[Node] = field(default_factory=list)

    def built(self, events: Iterator[Any]) -> Node:
        for event in events:
            line = event.start_mark.line + 1
            if getattr(event, "tag", None) is not None:
                self._refuse(line, f"the tag {event.tag} means nothing here; remove it")
            match event:
                case yaml.DocumentStartEvent() if self.roots:
                    self._refuse(line, "a second document begins; one file holds one")
                case yaml.ScalarEvent():
                    self._add(Scalar(event.value, event.style is None), event.anchor, line)
                case yaml.AliasEvent():
                    name = str(event.anchor)
                    if name not in self.anchors:
                        self._refuse(line, f"*{name} names nothing that comes before it")
                    self._add(self.anchors[name], None, line)
                case yaml.CollectionStartEvent():
                    self._begin({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor, line)
                case yaml.CollectionEndEvent():
                    ended = self.open.pop()
                    self._add(ended.node, ended.anchor, line)
        return self.roots[0] if self.roots and self.roots[0] != Scalar("", plain=True) else {}

    def _begin(self, node: list[Node] | dict[str, Node], anchor: str | None, line: int) -> None:
        if len(self.open) == DEEPEST:
            self._refuse(line, f"nested deeper than {DEEPEST} levels")
        if self.open and isinstance(self.open[-1].node, dict) and self.open[-1].key is None:
            self._refuse(line, "a key has to be a text")
        self.open.append(_Open(node, anchor))

    def _add(self, node: Node, anchor: str | None, line: int) -> None:
        if anchor is not None:
            self.anchors[anchor] = node
        if not self.open:
            self.roots.append(node)
            return
        around = self.open[-1]
        key = around.key
        if isinstance(around.node, list):
            around.node.append(node)
        elif key is not None:
            around.node[key] = node
            around.key = None
        elif not isinstance(node, Scalar):
            self._refuse(line, "a key has to be a text")
        elif node.text in around.node:
            self._refuse(line, f"the key {node.text!r} appears a second time; remove one")
        else:
            around.key = node.text

    def _refuse(self, line: int, reason: str) -> None:
        raise UserError(f"{self.source}: line {line}: {reason}")
