from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.learner.megatron import compat
from rzero_mega.learner.megatron.process_groups import start_process_groups
from tests.learner import megatron_version

compat.install()  # before any test module imports Megatron
megatron_version.check()


@pytest.fixture(scope="session")
def alone() -> ParallelLayout:
    """The layout of one process, with its process groups started."""
    layout = ParallelLayout()
    start_process_groups(layout, 0)
    return layout


@pytest.fixture(scope="session")
def models(tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Hugging Face folder of every family of `conversions`, with a tokenizer's file."""
    from tests.learner.checkpoints.conversions import FAMILIES

    folders = {}
    for name, (family, keys) in FAMILIES.items():
        folders[name] = tmp_path_factory.mktemp("model") / "hf"
        tiny_model(family, **keys).save_pretrained(folders[name])
        (folders[name] / "tokenizer.json").write_text("{}")
    return folders


@pytest.fixture(scope="session")
def checkpoints(
    models: dict[str, Path], alone: ParallelLayout, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Every family converted."""
    from rzero_mega.learner.checkpoints.conversion.convert import convert

    folders = {}
    for name, model in models.items():
        folders[name] = tmp_path_factory.mktemp("checkpoint") / "megatron"
        convert(model, folders[name], file_bytes=50_000)
    return folders
