"""The command `compare`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from rzero_mega.atomic import write_jsonl
from rzero_mega.commands.compare import compared, show_comparison
from rzero_mega.errors import UserError
from rzero_mega.evaluation.problem_score import ProblemScore
from rzero_mega.evaluation.published import OF_MATHEMATICS
from rzero_mega.evaluation.table import GENERAL
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.run.sealed import write_sealed
from tests.evaluation.scores import rows
from tests.tracking.evaluated import write_evaluations

GROUPS = {"arithmetic": "mathematics", "gsm8k": "mathematics"}
QUESTIONS = 40
Written = Callable[..., str]


def scores(arithmetic: int, gsm8k: int = 20) -> list[ProblemScore]:
    """So many right of forty questions each; arithmetic is sampled, and its greedy answers are right in half."""
    sampled = [1.0] * (arithmetic - 1) + [0.5, 0.5] + [0.0] * (QUESTIONS - arithmetic - 1)
    verdicts = [1.0] * gsm8k + [0.0] * (QUESTIONS - gsm8k)
    return [*rows("arithmetic", sampled, [number % 2 == 0 for number in range(QUESTIONS)]), *rows("gsm8k", verdicts)]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(name: str, by_iteration: Mapping[int, list[ProblemScore]], *overrides: str) -> str:
        return str(write_evaluations(tmp_path / name, by_iteration, GROUPS, *overrides))

    return write


def test_a_run_is_its_iterations_against_its_base(written: Written) -> None:
    table = compared([written("a", {0: scores(10), 1: scores(20, 36), 3: scores(30)})]).table
    assert table.columns == ("base", "iteration 1", "iteration 3")
    labels = [row.label for row in table.rows]
    assert labels == ["arithmetic", "arithmetic, greedy", "arithmetic, vote", "GSM8K", "mathematics, average"]
    gains = [cell.delta.value for cell in table.rows[0].cells if cell and cell.delta]
    assert gains == pytest.approx([0.25, 0.5])
    average = table.rows[-1].cells[1]
    assert average and average.delta and average.delta.value == pytest.approx((0.25 + 0.4) / 2)


def test_runs_stand_side_by_side_by_their_last_iteration_or_the_one_that_is_named(written: Written) -> None:
    full = written("full", {0: scores(10), 1: scores(20), 2: scores(30)})
    other = written("other", {0: scores(10), 1: scores(15)}, "ablation=no_filter")
    assert compared([full, other]).table.columns == ("full@2", "other@1")
    table = compared([f"{full}@base", f"{full}@1", other]).table
    assert table.columns == ("full@base", "full@1", "other@1")
    assert [cell.delta.value for cell in table.rows[0].cells if cell and cell.delta] == pytest.approx([0.25, 0.125])


def test_runs_that_differ_in_their_seed_alone_are_one_column(written: Written) -> None:
    right = {0: (10, 20), 1: (12, 21), 2: (11, 23)}
    seeds = [written(f"nano-seed{s}", {0: scores(a), 1: scores(b)}, f"seed={s}") for s, (a, b) in right.items()]
    found = compared(seeds).table
    assert found.columns == ("base", "iteration 1")
    first, second = found.rows[0].cells
    assert first and second and second.delta and first.value.items == 3
    assert second.delta.value == pytest.approx((10 + 9 + 12) / 3 / QUESTIONS)
    assert any("over their 3 seeds" in remark for remark in found.remarks)
    ablated = [written(f"nano-seed{s}-x", {1: scores(18 + s)}, f"seed={s}", "ablation=no_filter") for s in right]
    table = compared([*seeds, *ablated]).table
    assert table.columns == ("nano@1, 3 seeds", "nano-x@1, 3 seeds")
    cell = table.rows[0].cells[1]
    assert cell and cell.delta and cell.delta.value == pytest.approx((-2 - 2 - 3) / 3 / QUESTIONS)


def test_the_same_seed_twice_is_two_columns(written: Written) -> None:
    runs = [written(name, {1: scores(right)}) for name, right in (("a", 20), ("b", 25))]
    assert compared(runs).table.columns == ("a@1", "b@1")


def test_other_questions_are_not_compared_and_that_is_said(written: Written) -> None:
    changed = [row for row in scores(20) if row.benchmark == "gsm8k"]
    other = [ProblemScore(**{**row.as_json(), "question": f"Again: {row.question}"}) for row in changed]
    found = compared([written("a", {1: scores(20)}), written("b", {1: other}, "seed=1", "ablation=no_filter")])
    assert "b@1 and a@1 were asked other problems of GSM8K: no difference." in found.table.remarks


def test_a_model_of_the_paper_is_set_beside_it(tmp_path: Path) -> None:
    names = [*OF_MATHEMATICS, *GENERAL]
    groups = {name: "general" if name in GENERAL else "mathematics" for name in names}
    by_iteration = {
        iteration: [row for name in names for row in rows(name, [1.0] * (4 + iteration) + [0.0] * (6 - iteration))]
        for iteration in (0, 1)
    }
    run = write_evaluations(tmp_path / "run", by_iteration, groups, "model.path=Qwen/Qwen3-8B-Base")
    paper = compared([str(run)]).paper
    assert paper and [(row.label, row.column) for row in paper.rows][-2:] == [
        ("overall", "base"),
        ("overall", "iteration 1"),
    ]
    assert paper.rows[-1].our_gain == pytest.approx(0.1) and paper.rows[-1].paper_gain == pytest.approx(0.0344)


def kept(folder: Path, found: list[ProblemScore], model: str) -> str:
    """What `eval --output` leaves of a model."""
    folder.mkdir(parents=True)
    write_jsonl(folder / "scores.jsonl", (row.as_json() for row in found))
    by_benchmark = {name: {"group": group} for name, group in GROUPS.items()}
    facts = {"of": "0" * 64, "model": model, "seed": 0, "summary": {"by_benchmark": by_benchmark}}
    write_sealed(folder / "evaluation.json", facts)
    return str(folder)


def test_an_evaluation_of_a_model_stands_beside_runs(written: Written, tmp_path: Path) -> None:
    run = written("a", {0: scores(10), 1: scores(20)})
    other = kept(tmp_path / "out" / "other-model", scores(25), "/models/other-model")
    table = compared([run, other]).table
    assert table.columns == ("a@1", "other-model")
    cell = table.rows[0].cells[1]
    assert cell and cell.delta and cell.delta.value == pytest.approx(0.125)
    assert table.rows[-1].label == "mathematics, average"
    assert compared([other]).table.columns == ("other-model",)
    with pytest.raises(UserError, match=r"out: holds several evaluations; name them: .*/out/other-model"):
        compared([str(tmp_path / "out")])
    with pytest.raises(UserError, match="has no iterations; leave out the @"):
        compared([f"{other}@1"])
    (tmp_path / "out" / "other-model" / "evaluation.json").write_text('{"model": "x", "sha256": "0"}')
    with pytest.raises(UserError, match=r"evaluation\.json: malformed: has changed"):
        compared([other])


@pytest.mark.parametrize("columns", [80, 120])
def test_text_fits_the_terminal(
    columns: int, written: Written, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    show_comparison([written("a", {0: scores(10), 1: scores(11), 2: scores(35)})], "text")
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= columns
    assert "25.0 [" in shown and "iteration 1 and base cannot be told apart on arithmetic (40 questions" in shown
    assert "…" not in shown


def test_csv_and_markdown_are_the_same_table(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    run = written("a", {0: scores(10), 1: scores(30)})
    show_comparison([run], "csv")
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert float(found[1]["delta"]) == 0.5 and len(found) == 10
    show_comparison([run], "markdown")
    assert capsys.readouterr().out.startswith("| benchmark | base | iteration 1 |\n| --- |")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda scores: scores.unlink(), "does not exist"),
        (lambda scores: scores.write_text("{"), "line 1 is not a JSON object"),
        (lambda scores: scores.write_text(scores.read_text().replace("1.0", "0.0", 1)), "has changed since"),
    ],
)
def test_scores_that_are_lost_or_damaged_are_one_line(
    damage: Callable[[Path], None], said: str, written: Written
) -> None:
    run = written("a", {0: scores(10)})
    damage(RunDirectory.open_existing(Path(run)).phase(0, PhaseName.EVALUATE).path / "scores.jsonl")
    with pytest.raises(UserError, match=said) as raised:
        compared([run])
    assert "scores.jsonl" in str(raised.value) and "\n" not in str(raised.value)


def test_what_cannot_be_compared_is_one_line(written: Written, tmp_path: Path) -> None:
    run, empty = written("a", {0: scores(10), 2: scores(20)}), written("b", {})
    for arguments, said in (
        ([str(tmp_path / "none")], "is no run directory"),
        ([f"{run}@1"], "no finished evaluation; there are base, 2"),
        ([empty], "no evaluation is finished"),
        ([written("c", {1: scores(20)}, "seed=3"), run], "no iteration of theirs is evaluated in all"),
    ):
        with pytest.raises(UserError, match=said):
            compared(arguments)
    with pytest.raises(UserError, match="--format html: is none of text, markdown, csv"):
        show_comparison([run], "html")
