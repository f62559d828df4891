"""Of every damage of every file of a run, a sample: each is named, or mended. All of them: `python -m tools.damage`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.damage import OUTCOMES, results, table

pytestmark = pytest.mark.e2e


def test_no_damage_is_silent(tmp_path: Path) -> None:
    found = results(tmp_path, every=50)
    assert len(found) >= 20
    assert {result.outcome for result in found} <= {*OUTCOMES} - {"silent", "traceback"}, table(found)
