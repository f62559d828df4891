from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.phases.scripted import ScriptedRun


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Callable[..., ScriptedRun]]:
    """Makes a run of overrides; its grader and its lock end with the test."""
    with ExitStack() as stack:
        yield lambda *overrides: stack.enter_context(closing(ScriptedRun(tmp_path, overrides)))
