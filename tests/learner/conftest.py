from __future__ import annotations

import pytest

from rzero_mega.learner import compat
from rzero_mega.learner.layout import ParallelLayout

compat.install()  # before any test module imports Megatron


@pytest.fixture(scope="session")
def alone() -> ParallelLayout:
    """The layout of one process, with its process groups started."""
    layout = ParallelLayout(tp=1, pp=1, dp=1, sequence_parallel=False)
    layout.initialize(0)
    return layout
