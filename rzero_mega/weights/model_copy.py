"""What of a model's folder goes into another one: into trained models, into what a server is started on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from rzero_mega.weights.model_config import clean_config, without_code
from rzero_mega.weights.model_files import (
    CONFIG,
    COPIED,
    INDEX,
    MB,
    SMALL_FILES,
    TOKENIZER_CONFIG,
    model_file,
    read_object,
    weight_files,
)


def copy_small_files(folder: Path, target: Path) -> None:
    """Copy configuration, tokenizer and terms of use, without keys that name code or that nobody knows."""
    for name in COPIED:
        path = model_file(folder, name, SMALL_FILES.get(name, MB))
        if path is None:
            continue
        shutil.copyfile(path, target / name)
        if name in (CONFIG, TOKENIZER_CONFIG):
            raw = read_object(folder, name)
            cleaned = clean_config(raw) if name == CONFIG else without_code(raw)
            if cleaned != raw:
                (target / name).write_text(json.dumps(cleaned, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def link_model(folder: Path, target: Path) -> None:
    """Make `target` a folder that has the model and nothing else: copies of the small files, links to the weights."""
    target.mkdir(parents=True)
    copy_small_files(folder, target)
    index = [INDEX] if model_file(folder, INDEX) is not None else []
    for name in [*weight_files(folder), *index]:
        (target / name).symlink_to((folder / name).resolve())
