"""Files that ship inside the package: the nano base model."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def nano_base_path() -> Path:
    """Return the folder of the nano base, a Hugging Face checkpoint (Qwen3, about 0.8 million parameters).

    The package is installed unpacked, so the resource is a real folder that transformers and SGLang can open.
    """
    return Path(str(files(__name__) / "nano_base"))
