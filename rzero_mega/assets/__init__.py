"""Files that ship inside the package: the bases of nano, folklore and rewriting."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def asset_path(name: str) -> Path:
    """Return the folder of a model that ships, a Hugging Face checkpoint.

    The package is installed unpacked, so the resource is a real folder that transformers and SGLang can open.
    """
    return Path(str(files(__name__) / name))


def nano_base_path() -> Path:
    """Return the folder of the nano base (Qwen3, about 0.8 million parameters)."""
    return asset_path("nano_base")
