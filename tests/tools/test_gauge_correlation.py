"""Rank correlations of known gauges with a known truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from rzero_mega.coevolution.gauges import Gauges
from rzero_mega.config import load_config
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from tools.gauge_correlation import cell, main


def test_ranks_and_not_distances_are_correlated() -> None:
    assert cell([(0.1, 1.0), (0.2, 1.1), (0.9, 50.0)]).startswith("+1.00 (p 0, n 3)")
    assert cell([(3.0, 1.0), (2.0, 2.0), (1.0, 3.0), (None, 9.0), (0.0, None)]).startswith("-1.00")


@pytest.mark.parametrize(("pairs", "n"), [([(1.0, 2.0), (2.0, 1.0)], 2), ([(1.0, 2.0)] * 4, 4), ([], 0)])
def test_where_there_is_no_correlation_there_is_a_dash(pairs: list[tuple[float, float]], n: int) -> None:
    assert cell(pairs) == f"– (n {n})"


def test_gauges_are_held_against_the_next_iterations_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunDirectory.create_or_open(tmp_path, load_config(["nano"], ["run.minimum_free_mb=0"]), writer=True) as run:
        for iteration, agreement in ((1, 0.9), (2, 0.7), (3, 0.8)):
            phase = run.phase(iteration, PhaseName.EVALUATE)
            phase.begin({})
            # The vote in band is true where it agrees, and p̂ goes the other way.
            gauges = Gauges(100, 40, 0.5, agreement, 0.5, 1.0, 1 - agreement, 0.5, agreement, 0.5)
            phase.finish({}, {"gauges": gauges.as_json()})
    main([str(tmp_path)])
    lines = {
        line.split(" | ")[0]: line.split(" | ")[1:] for line in capsys.readouterr().out.splitlines() if "|" in line
    }
    assert lines["| agreement in band"][0] == "+1.00 (p 0, n 3)"
    assert lines["| mean p̂"][0].startswith("-1.00") and lines["| entropy"][0] == "– (n 3)"
    assert lines["| agreement in band"][3] == "– (n 0)"
