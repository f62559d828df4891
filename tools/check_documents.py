#!/usr/bin/env python3
"""Finds paths and make targets that documents name and the repository lacks: `python -m tools.check_documents`.

Looks at what stands between backticks and in fenced blocks of all Markdown files; links and their anchors are lychee's
(`make lint`). A word is taken for a path if its first part is the name of something at the top of the repository, in
the package or beside the document, or if it ends as sources do. Words with capitals for a part to fill in (`RUN/…`)
and with wildcards are left alone. A module that `python -m` runs is a file or a package of the repository if its first
part is a folder at the top.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "rzero_mega"
SOURCES = (".py", ".md", ".toml", ".j2", ".sh", ".tsv")
_FENCE = re.compile(r"^ *(```+|~~~+)")
_SPAN = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_PATH = re.compile(r"(?:\.\./)*[\w.-]+(?:/[\w.-]+)*/?")
_TO_FILL_IN = re.compile(r"(?:^|/)[A-Z_]+(?:/|$)")
_MODULE = re.compile(r"\bpython3? -m ((\w+)[\w.]*)")
_TARGET = re.compile(r"\bmake ((?:[a-z][a-z0-9-]*\b ?)+)")


def code(text: str) -> Iterator[str]:
    """The parts of a Markdown text that are code: fenced blocks and spans, each with blanks for line ends."""
    prose: list[str] = []
    fence: str | None = None
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if mark and fence in (None, mark[1]):
            fence = mark[1] if fence is None else None
        elif fence is not None:
            yield line
        else:
            prose.append(line)
    for paragraph in re.split(r"\n\s*\n", "\n".join(prose)):
        yield from (span[2].replace("\n", " ") for span in _SPAN.finditer(paragraph))


def missing(document: Path, there: set[Path], root: Path) -> list[str]:
    """What a document names that isn't among the files and folders `there`, in the order of the text."""
    places = (document.parent, root, root / PACKAGE)
    known = {path.name for path in there if path.parent in places}
    modules = {path.name for path in there}
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    wrong = []
    for part in code(document.read_text(encoding="utf-8")):
        for word in map(_bare, part.split()):
            if _is_path(word, known):
                found = any(Path(os.path.normpath(place / word)) in there for place in places)
                wrong += [] if found or word in modules else [word]
        for match in _MODULE.finditer(part):
            path = root / match[1].replace(".", "/")
            if root / match[2] in there and not there & {path.with_suffix(".py"), path / "__main__.py"}:
                wrong.append(match[1])
        for match in _TARGET.finditer(part):
            wrong += [f"make {name}" for name in match[1].split() if name not in targets]
    return list(dict.fromkeys(wrong))


def _bare(word: str) -> str:
    return word.strip("()[]\"',;:").rstrip(".")


def _is_path(word: str, known: set[str]) -> bool:
    if not _PATH.fullmatch(word) or _TO_FILL_IN.search(word):
        return False
    if "/" not in word:
        return word.endswith(".py")
    return word.startswith("../") or word.split("/")[0] in known or word.endswith(SOURCES)


def tracked(root: Path) -> list[Path]:
    """The repository's files: those that git has or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode().split("\0")
    return [root / name for name in names if name and (root / name).exists()]


def main(root: Path = ROOT) -> int:
    """Print what is missing, a line each; 1 if there is anything."""
    files = tracked(root)
    there = {path for file in files for path in (file, *file.parents)}
    documents = [file for file in files if file.suffix == ".md"]
    lines = [
        f"{document.relative_to(root)}: {name} is not there"
        for document in documents
        for name in missing(document, there, root)
    ]
    print(*lines, f"{len(documents)} documents, {len(lines)} names of what is not there", sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
