"""What pip leaves of a package that brings domains."""

from __future__ import annotations

from pathlib import Path


def install(folder: Path, **entries: str) -> None:
    """A package that has these entry points: {domain: module:object}."""
    about = folder / "brought-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (about / "entry_points.txt").write_text("\n".join(["[rzero_mega.domains]", *lines]))
