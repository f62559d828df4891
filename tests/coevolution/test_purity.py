from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import rzero_mega.coevolution

FORBIDDEN = ("torch", "megatron", "sglang", "nemo_run", "wandb", "requests", "httpx", "nltk", "sklearn")


def test_the_room_imports_with_none_of_what_it_must_not_know() -> None:
    folder = Path(rzero_mega.coevolution.__file__).parent
    files = [path for path in folder.rglob("*.py") if path.stem != "__init__"]
    modules = [".".join(("rzero_mega.coevolution", *path.relative_to(folder).with_suffix("").parts)) for path in files]
    assert modules
    code = f"""
import sys
sys.modules.update(dict.fromkeys({FORBIDDEN!r}))  # None makes an import of these fail
import importlib
for module in {modules!r}:
    importlib.import_module(module)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
