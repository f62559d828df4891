from __future__ import annotations

import subprocess
import sys

import pytest

from tests import ROOT
from tests.learner import megatron_version


@pytest.mark.skipif(megatron_version.EXPECTED is None, reason="make test-newest asks for a version")
def test_a_process_that_a_test_starts_has_the_version_of_the_lane() -> None:
    command = [sys.executable, "-c", "from tests.learner.megatron_version import found; print(found())"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == megatron_version.EXPECTED, done.stderr
