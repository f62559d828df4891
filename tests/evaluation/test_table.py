"""The paper's table."""

from __future__ import annotations

import csv
import io

import pytest

from rzero_mega.evaluation.statistics import difference
from rzero_mega.evaluation.table import ModelScores, as_csv, as_markdown, published, remarks, result_table

GROUPS = {
    "math500": "mathematics",
    "gsm8k": "mathematics",
    "supergpqa": "general",
    "mmlu_pro": "general",
    "bbeh": "general",
}
TITLES = {"math500": "MATH-500", "gsm8k": "GSM8K"}
BASE = ModelScores(
    "base",
    {
        "math500": [1.0, 0.0, 0.0, 0.0] * 25,
        "gsm8k": [1.0, 1.0, 0.0, 0.0] * 50,
        "supergpqa": [1.0, 0.0] * 50,
        "mmlu_pro": [0.0, 0.0, 1.0, 0.0] * 50,
        "bbeh": [0.0, 0.0, 0.0, 0.0, 1.0] * 20,
    },
)
TRAINED = ModelScores("iteration 1", {**BASE.scores, "math500": [1.0, 1.0, 0.0, 0.0] * 25})


def test_averages_are_the_paper_s() -> None:
    table = result_table([BASE, TRAINED], GROUPS, TITLES)
    values = {row.label: [cell.value.value for cell in row.cells if cell] for row in table.rows}
    assert values["MATH-500"] == [0.25, 0.5]
    assert values["mathematics, average"] == pytest.approx([0.375, 0.5])
    assert values["general, average"] == pytest.approx([0.95 / 3] * 2)
    assert values["overall"] == pytest.approx([(0.375 + 0.95) / 4, (0.5 + 0.95) / 4])


def test_differences_are_from_the_first_model() -> None:
    table = result_table([BASE, TRAINED], GROUPS, TITLES)
    math500 = table.rows[0].cells[1]
    assert math500 and math500.delta == difference(TRAINED.scores["math500"], BASE.scores["math500"])
    assert math500.delta.tells_apart
    assert all(row.cells[0] and row.cells[0].delta is None for row in table.rows)
    assert remarks(table) == [
        "iteration 1 and base cannot be told apart on: GSM8K, supergpqa, mmlu_pro, bbeh, general, average"
    ]


def test_an_average_is_of_what_all_models_have() -> None:
    part = ModelScores("half", {"math500": BASE.scores["math500"]})
    table = result_table([BASE, part], GROUPS, TITLES)
    assert [row.label for row in table.rows] == ["MATH-500", "GSM8K", "supergpqa", "mmlu_pro", "bbeh"]
    assert table.rows[1].cells[1] is None
    assert "| GSM8K | 50.0 [43.1, 56.9] | – |" in as_markdown(table)


def test_csv_holds_every_number() -> None:
    table = result_table([BASE, TRAINED], GROUPS, TITLES)
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert len(rows) == 2 * len(table.rows)
    assert float(rows[1]["delta"]) == 0.25 and rows[0]["delta"] == ""


@pytest.mark.parametrize("model", ["Qwen/Qwen3-4B-Base", "Qwen3-8B-Base", "OctoThinker-3B-Hybrid-Base"])
def test_published_averages_are_averages(model: str) -> None:
    for row in published(model).values():
        four = [row[name] for name in ("mathematics", "supergpqa", "mmlu_pro", "bbeh")]
        assert row["overall"] == pytest.approx(sum(four) / 4, abs=0.02)


def test_other_models_have_no_published_results() -> None:
    assert published("nano") == {}
