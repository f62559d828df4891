"""Under which terms the base model stands, as its own card says: what was trained from it stands under them too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.errors import UserError
from rzero_mega.text_file import read_text
from rzero_mega.yaml_text import Node, Scalar, parse_yaml

# An identifier of the hub: apache-2.0, llama3.2, other.
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(?P<yaml>.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_CARD = "README.md"


@dataclass(frozen=True)
class Licence:
    """The hub's identifier of a licence; `name` and `link` say more where it is `other`."""

    identifier: str
    name: str | None = None
    link: str | None = None


def named_licence(identifier: str) -> Licence:
    """A licence that the user names; UserError if it is no identifier."""
    if not _IDENTIFIER.fullmatch(identifier):
        raise UserError(f"--license {identifier!r}: no identifier of a licence, as apache-2.0, mit, llama3.2 or other")
    return Licence(identifier)


def licence_of(folder: Path) -> Licence | None:
    """What the card in a model's folder says; None without a card, or where it says nothing that can be read."""
    try:
        match = _FRONT_MATTER.match(read_text(folder / _CARD))
        head = parse_yaml(match["yaml"], _CARD) if match else {}
    except UserError:
        return None
    identifier = _line(head, "license")
    if identifier is None or not _IDENTIFIER.fullmatch(identifier):
        return None
    return Licence(identifier, _line(head, "license_name"), _line(head, "license_link"))


def _line(head: Node, key: str) -> str | None:
    """A short printable text of the card's head; None where there is none."""
    value = head.get(key) if isinstance(head, dict) else None
    fits = isinstance(value, Scalar) and value.text.isprintable() and 0 < len(value.text) <= 200
    return value.text if fits and isinstance(value, Scalar) else None
