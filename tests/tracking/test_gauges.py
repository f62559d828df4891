"""Gauges and labels' worth as status, W&B and report show them."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from rzero_mega.commands.status import show_status
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.tracking import labels_table, run_status
from rzero_mega.tracking.gauge_figures import gauge_figures, worth_figures
from rzero_mega.tracking.report import gauges_table
from rzero_mega.tracking.report_data import gather
from rzero_mega.tracking.wandb_rows import axes, summary_values


def test_status_shows_worth_and_gauges_in_eighty_columns(
    finished: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = labels_table(run_status(finished))
    assert table is not None
    stream = io.StringIO()
    Console(file=stream, width=80).print(table)
    text = stream.getvalue()
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert re.search(r"│ +base │ +– │ +– │ +– │ +100 % │ +1\.10 │ +– │ +80 % │", text)
    assert re.search(r"│ +3 │ .* │ +64 % │ +0\.50 │ +80 % │ +75 % │", text)
    monkeypatch.setenv("COLUMNS", "80")
    show_status(finished, as_json=False)
    warned = "iteration 3 not sound (warn): agreement in band 64.0 % < least_agreement 70.0 %"
    assert [line for line in capsys.readouterr().out.splitlines() if "sound" in line] == [warned]


def test_wandb_has_a_section_of_gauges_over_the_iterations(finished: RunDirectory) -> None:
    manifest = finished.phase(3, PhaseName.EVALUATE).manifest()
    assert manifest is not None
    values = summary_values(manifest)
    assert values["gauges/agreement_in_band"] == pytest.approx(0.64) and values["gauges/sound"] == 0.0
    assert not any(key.startswith("eval/") and "gauges" in key for key in values)
    assert axes()["gauges/*"] == "iteration"


def test_wandb_has_labels_worth_beside_their_accuracy(finished: RunDirectory) -> None:
    manifest = finished.phase(1, PhaseName.LABELS).manifest()
    assert manifest is not None
    values = summary_values(manifest)
    names = {"labels/label_accuracy", "labels/signal_weighted_accuracy", "labels/net_corrections", "labels/p_hat_wrong"}
    assert names <= set(values)


def test_the_report_has_gauges_beside_the_truth(finished: RunDirectory) -> None:
    data = gather(finished)
    table = gauges_table(data)
    assert table is not None and [row[0] for row in table.rows] == ["base", "1", "2", "3"]
    assert [row[-1] for row in table.rows] == ["–", "sound", "sound", "not sound: warned"]
    assert len({len(row) for row in (table.headings, *table.rows)}) == 1
    titles = [figure.title for figure in (*worth_figures(data), *gauge_figures(data))]
    assert titles == [
        "Labels' worth",
        "Net corrections",
        "Gauges",
        "Answers' entropy",
        "Sureness",
        "Fixed questions",
    ]
