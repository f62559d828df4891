from __future__ import annotations

import os
import time

import pytest
from filelock import FileLock

from tests.e2e.command import Undisturbed, run, tiny


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What runs that were killed, stopped or out of room are compared with: one for all workers of pytest-xdist."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    took = root / "undisturbed" / "seconds"
    with FileLock(root / "undisturbed.lock"):
        if not took.is_file():
            took.parent.mkdir()
            began = time.monotonic()
            result = run(took.parent, *tiny("undisturbed", processes=2))
            assert result.returncode == 0, result.stderr
            took.write_text(str(time.monotonic() - began))
    return Undisturbed(took.parent, float(took.read_text()))
