from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import chain, count
from pathlib import Path

import pytest

from rzero_mega.learner.megatron.process_groups import start_process_groups
from tests.phases.scripted import ScriptedRun


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Callable[..., ScriptedRun]]:
    """Makes a run of overrides, each in a folder of its own; its grader and its lock end with the test."""
    folders = chain([tmp_path], (tmp_path / f"another-{number}" for number in count()))
    with ExitStack() as stack:

        def make(*overrides: str) -> ScriptedRun:
            folder = next(folders)
            folder.mkdir(exist_ok=True)
            return stack.enter_context(closing(ScriptedRun(folder, overrides)))

        yield make


@pytest.fixture
def training_runs(tmp_path: Path) -> Iterator[Callable[..., ScriptedRun]]:
    """Opens the run of a name under overrides, whoever had it before, ready to train."""
    with ExitStack() as opened:

        def open_run(name: str, *overrides: str) -> ScriptedRun:
            opened.close()
            (tmp_path / name).mkdir(exist_ok=True)
            run = opened.enter_context(closing(ScriptedRun(tmp_path / name, overrides)))
            start_process_groups(run.ctx.layout, 0)
            return run

        yield open_run
