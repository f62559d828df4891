from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.slurm.virtual_cluster import VirtualCluster, command


@pytest.fixture(scope="session")
def start_cluster() -> Iterator[Callable[..., VirtualCluster]]:
    """Starts a cluster with options of `cluster.py up`; all end with the session, whatever happens."""
    with ExitStack() as at_end:

        def start(*options: str) -> VirtualCluster:
            # Not under pytest's own folder: the path of a unix socket has at most 107 bytes.
            folder = Path(at_end.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
            at_end.callback(command, "down", folder)
            done = command("up", folder, *options)
            if "not installed" in done.stderr:
                pytest.skip(done.stderr.strip())
            assert done.returncode == 0, done.stderr
            return VirtualCluster(folder)

        yield start


@pytest.fixture(scope="session")
def cluster(start_cluster: Callable[..., VirtualCluster]) -> VirtualCluster:
    """Two nodes of eight GPUs, shared by the session; a test leaves neither jobs nor drained nodes (reset)."""
    return start_cluster("--nodes", "2", "--gpus", "8")
