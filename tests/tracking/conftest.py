from __future__ import annotations

import pytest

from rzero_mega.run import RunDirectory
from tests.tracking.synthetic import write_synthetic_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of three iterations, open for reading."""
    path = tmp_path_factory.mktemp("runs") / "nano-seed0"
    write_synthetic_run(path).close()
    return RunDirectory.open_existing(path)
