from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from rzero_mega.learner.megatron.process_groups import start_process_groups
from tests.phases.scripted import ScriptedRun


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Callable[..., ScriptedRun]]:
    """Makes a run of overrides; its grader and its lock end with the test."""
    with ExitStack() as stack:
        yield lambda *overrides: stack.enter_context(closing(ScriptedRun(tmp_path, overrides)))


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
