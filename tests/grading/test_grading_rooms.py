"""The rooms of grading depend on each other one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rzero_mega.grading

FOLDER = Path(rzero_mega.grading.__file__).parent
ROOMS = ("expressions", "mathematics", "text", "syntax", "answers", "workers")
"""Each knows those before it; the files above them (`equivalent` for one pair, the public names) know all."""


def rooms_imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[2] for name in modules if name.startswith("rzero_mega.grading.")}
    return found


def test_every_room_has_its_place_in_the_order() -> None:
    assert {file.parent.name for file in FOLDER.glob("*/*.py")} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_only_itself_and_those_before_it(room: str) -> None:
    known = set(ROOMS[: ROOMS.index(room) + 1])
    wrong = {
        f"{file.name} imports {other}"
        for file in (FOLDER / room).glob("*.py")
        for other in rooms_imported(file) - known
    }
    assert not wrong
