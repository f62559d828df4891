"""The paper's table."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from rzero_mega.atomic import write_jsonl
from rzero_mega.errors import UserError
from rzero_mega.evaluation.definition import title_of
from rzero_mega.evaluation.formats import as_csv, as_markdown
from rzero_mega.evaluation.published import OF_MATHEMATICS, beside_paper, published
from rzero_mega.evaluation.results import ModelScores, read_scores
from rzero_mega.evaluation.statistics import between_seeds, difference, over_seeds
from rzero_mega.evaluation.table import Contender, ResultTable, result_table
from tests.evaluation.scores import model, rows

GROUPS = {
    "math500": "mathematics",
    "gsm8k": "mathematics",
    "supergpqa": "general",
    "mmlu_pro": "general",
    "bbeh": "general",
}
TITLES = {"math500": "MATH-500", "gsm8k": "GSM8K"}
SCORES = {
    "math500": [1.0, 0.0, 0.0, 0.0] * 25,
    "gsm8k": [1.0, 1.0, 0.0, 0.0] * 50,
    "supergpqa": [1.0, 0.0] * 50,
    "mmlu_pro": [0.0, 0.0, 1.0, 0.0] * 50,
    "bbeh": [0.0, 0.0, 0.0, 0.0, 1.0] * 20,
}
BETTER = {**SCORES, "math500": [1.0, 1.0, 0.0, 0.0] * 25}
BASE, TRAINED = Contender("base", {0: model(SCORES)}), Contender("iteration 1", {0: model(BETTER)})


def values(table: ResultTable) -> dict[str, list[float]]:
    return {row.label: [cell.value.value for cell in row.cells if cell] for row in table.rows}


def test_averages_are_the_paper_s() -> None:
    found = values(result_table([BASE, TRAINED], GROUPS, TITLES))
    assert found["MATH-500"] == [0.25, 0.5]
    assert found["mathematics, average"] == pytest.approx([0.375, 0.5])
    assert found["general, average"] == pytest.approx([0.95 / 3] * 2)
    assert found["overall"] == pytest.approx([(0.375 + 0.95) / 4, (0.5 + 0.95) / 4])


def test_differences_are_from_the_first_model_and_what_they_cannot_tell_is_said() -> None:
    table = result_table([BASE, TRAINED], GROUPS, TITLES)
    math500 = table.rows[0].cells[1]
    assert math500 and math500.delta == difference(BETTER["math500"], SCORES["math500"])
    assert math500.delta.tells_apart
    assert all(row.cells[0] and row.cells[0].delta is None for row in table.rows)
    grader, by_chance, remark = table.remarks
    assert grader == "Grading is rule-based." and "one in twenty" in by_chance
    assert remark.startswith(
        "iteration 1 and base cannot be told apart on GSM8K (200 questions tell differences from about 1.5 points on); "
        "supergpqa (100 questions tell differences from about 3.0 points on); mmlu_pro"
    )
    assert "MATH-500" not in remark and "mathematics" not in remark


def test_problems_are_paired_by_their_text_wherever_they_stand() -> None:
    shuffled = ModelScores.of(list(reversed(rows("math500", BETTER["math500"]))))
    straight = result_table([BASE, Contender("m", {0: model({"math500": BETTER["math500"]})})], GROUPS, TITLES)
    turned = result_table([BASE, Contender("m", {0: shuffled})], GROUPS, TITLES)
    assert straight.rows[0] == turned.rows[0]


def test_a_question_that_is_asked_twice_is_paired_twice() -> None:
    first, second = rows("b", [1.0, 0.0])
    twice = [first, replace(first, score=0.0), second]
    before, after = ModelScores.of(twice).benchmarks["b"], ModelScores.of([second, *twice[:2]]).benchmarks["b"]
    assert after.paired(before, "score") == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("change", [{"question": "another?"}, {"answers": ("2",)}])
def test_models_that_were_asked_something_else_are_not_compared(change: dict[str, object]) -> None:
    first, *others = rows("math500", BETTER["math500"])
    asked = ModelScores.of([replace(first, **change), *others])  # type: ignore[arg-type]
    table = result_table([BASE, Contender("m", {0: asked})], GROUPS, TITLES)
    cell = table.rows[0].cells[1]
    assert cell and cell.delta is None and cell.value.value == 0.5
    assert table.remarks[1:] == ("m and base were asked other problems of MATH-500: no difference.",)


def test_an_average_is_of_what_all_models_have() -> None:
    table = result_table([BASE, Contender("half", {0: model({"math500": SCORES["math500"]})})], GROUPS, TITLES)
    assert [row.label for row in table.rows] == ["MATH-500", "GSM8K", "supergpqa", "mmlu_pro", "bbeh"]
    assert table.rows[1].cells[1] is None
    assert "| GSM8K | 50.0 [43.1, 56.9] | – |" in as_markdown(table)


def test_greedy_and_vote_stand_beside_a_mean_and_in_no_average() -> None:
    def sampled(scores: list[float]) -> ModelScores:
        greedy = rows("arithmetic", scores, [score > 0.3 for score in scores])
        return ModelScores.of([*greedy, *rows("math500", SCORES["math500"]), *rows("clock", [1.0, 0.0])])

    groups = {"arithmetic": "mathematics", "math500": "mathematics", "clock": "transfer"}
    found = values(result_table([Contender("base", {0: sampled([0.5, 0.75, 0.25, 0.5])})], groups, {}))
    assert found == {
        "arithmetic": [0.5],
        "arithmetic, greedy": [0.75],
        "arithmetic, vote": [0.25],
        "math500": [0.25],
        "clock (transfer)": [0.5],
        "mathematics, average": [0.375],
    }


def seeded(name: str, scores: dict[int, float]) -> Contender:
    def of(accuracy: float) -> ModelScores:
        return model({"gsm8k": [1.0] * round(100 * accuracy) + [0.0] * round(100 - 100 * accuracy)})

    return Contender(name, {seed: of(accuracy) for seed, accuracy in scores.items()})


def test_seeds_are_compared_seed_by_seed_where_they_are_the_same_and_as_two_sets_elsewhere() -> None:
    base, after = {0: 0.50, 1: 0.40, 2: 0.60}, {0: 0.55, 1: 0.46, 2: 0.64}
    table = result_table([seeded("base", base), seeded("after", after)], GROUPS, {})
    first, second = table.rows[0].cells
    assert first and second and second.delta
    assert first.value.items == 3 and first.value.value == pytest.approx(0.5)
    assert second.delta.value == pytest.approx(0.05) and second.delta.tells_apart
    assert second.delta.high == pytest.approx(over_seeds([0.05, 0.06, 0.04]).high)
    others = seeded("after", {seed + 5: accuracy for seed, accuracy in after.items()})
    table = result_table([seeded("base", base), others], GROUPS, {})
    cell = table.rows[0].cells[1]
    assert cell and cell.delta == between_seeds(list(after.values()), list(base.values()))
    assert not cell.delta.tells_apart and "cannot be told apart on gsm8k (3 seeds)" in table.remarks[-1]


def test_one_run_is_not_compared_with_several() -> None:
    table = result_table([seeded("a", {0: 0.5}), seeded("b", {0: 0.5, 1: 0.6})], GROUPS, {})
    assert table.rows[0].cells[1] and table.rows[0].cells[1].delta is None
    assert table.remarks[-1] == "a is one run, which says nothing of other seeds: no difference."


def test_graders_that_differ_are_named() -> None:
    table = result_table([BASE, replace(TRAINED, graded="rules, then a judge")], GROUPS, TITLES)
    assert table.remarks[:3] == (
        "base: grading is rule-based.",
        "iteration 1: grading is rules, then a judge.",
        "Where graders differ, so may accuracies of the same answers.",
    )


def test_csv_holds_every_number() -> None:
    table = result_table([BASE, TRAINED], GROUPS, TITLES)
    found = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert len(found) == 2 * len(table.rows)
    assert float(found[1]["delta"]) == 0.25 and found[0]["delta"] == "" and float(found[1]["detectable"]) > 0


def test_a_pipe_in_a_name_is_no_column() -> None:
    table = result_table([replace(BASE, name="a|b")], GROUPS, TITLES)
    assert as_markdown(table).startswith("| benchmark | a\\|b |\n| --- | --- |\n")


@pytest.mark.parametrize("name", ["Qwen/Qwen3-4B-Base", "/models/Qwen3-8B-Base/", "OctoThinker-3B-Hybrid-Base"])
def test_published_averages_are_averages(name: str) -> None:
    for row in published(name).values():
        four = [row[key] for key in ("mathematics", "supergpqa", "mmlu_pro", "bbeh")]
        assert row["overall"] == pytest.approx(sum(four) / 4, abs=0.02)


def test_other_models_have_no_published_results() -> None:
    assert published("nano") == {}
    assert beside_paper(result_table([BASE], GROUPS, TITLES), [replace(BASE, model="nano", iteration=0)]) is None


def test_a_model_of_the_paper_stands_beside_the_paper_s_numbers() -> None:
    groups = {**GROUPS, **dict.fromkeys(OF_MATHEMATICS, "mathematics")}
    scores = {
        **{name: [1.0, 0.0] for name in OF_MATHEMATICS},
        **{name: SCORES[name] for name in SCORES if name not in TITLES},
    }
    better = {**scores, "supergpqa": [1.0, 1.0, 1.0, 0.0] * 25}
    columns = [
        Contender("base", {0: model(scores)}, "Qwen/Qwen3-4B-Base", 0),
        Contender("iteration 3", {0: model(better)}, "Qwen/Qwen3-4B-Base", 3),
        Contender("iteration 9", {0: model(better)}, "Qwen/Qwen3-4B-Base", 9),
    ]
    table = result_table(columns, groups, {})
    found = beside_paper(table, columns)
    assert found and found.model == "Qwen3-4B-Base" and len(found.remarks) == 1
    by_place = {(row.label, row.column): row for row in found.rows}
    assert {column for _, column in by_place} == {"base", "iteration 3"}
    assert by_place["mathematics, average", "base"].paper == pytest.approx(0.4258)
    gained = by_place["supergpqa", "iteration 3"]
    assert (gained.ours, gained.our_gain) == (0.75, 0.25)
    assert gained.paper_gain == pytest.approx(0.0667) and by_place["overall", "iteration 3"].paper == pytest.approx(
        0.3464
    )
    assert "| supergpqa | iteration 3 | 75.0 | 27.6 | +47.4 | +25.0 | +6.7 |" in as_markdown(table, found)
    supergpqa = next(r for r in csv.DictReader(io.StringIO(as_csv(table, found))) if r["benchmark"] == "supergpqa")
    assert float(supergpqa["paper"]) == pytest.approx(0.2088)


def test_an_average_of_other_benchmarks_is_not_set_beside_the_paper_s() -> None:
    columns = [replace(BASE, model="Qwen3-8B-Base", iteration=0)]
    found = beside_paper(result_table(columns, GROUPS, TITLES), columns)
    assert found and [row.label for row in found.rows] == ["supergpqa", "mmlu_pro", "bbeh"]
    assert any("ours is of others" in remark for remark in found.remarks)


def test_titles() -> None:
    assert [title_of(name) for name in ("math500", "math500:50", "mine")] == ["MATH-500", "MATH-500:50", "mine"]


@pytest.mark.parametrize("change", [{"score": 2.0}, {"score": None}, {"answers": "3"}, {"greedy": 1}, {"mean": "1"}])
def test_a_malformed_score_is_one_line(change: dict[str, object], tmp_path: Path) -> None:
    good, *_ = (row.as_json() for row in rows("b", [1.0]))
    write_jsonl(tmp_path / "scores.jsonl", [good, {**good, **change}])
    with pytest.raises(UserError, match=r"scores.jsonl: line 2 is malformed: .*; restore or remove it"):
        read_scores(tmp_path / "scores.jsonl")


def test_scores_that_are_none_or_others_than_were_written_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text("")
    with pytest.raises(UserError, match="holds no scores"):
        read_scores(path)
    write_jsonl(path, [row.as_json() for row in rows("b", [1.0])])
    assert read_scores(path).benchmarks["b"].measures == {"score": (1.0,)}
    with pytest.raises(UserError, match="has changed since it was written"):
        read_scores(path, "0" * 64)
