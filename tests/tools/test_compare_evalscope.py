from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.errors import UserError
from rzero_mega.grading import GradingPool
from rzero_mega.run import RunDirectory
from tests.release.made_run import make_run
from tools.compare_evalscope import Scored, compare, report, scored_problems, their_answers, write_data

# (what evalscope's side said, how it ended, what evalscope read, its verdict), for four problems with the answer 12.
SAID = [
    (r"so \boxed{12}", "stop", "12", 1.0),
    ("so it is 12", "stop", "12", 1.0),
    (r"so \boxed{12} and", "max_tokens", "12", 1.0),
    (r"so \boxed{13}", "stop", "13", 0.0),
]
PROBLEMS = [Scored(f"q{i}", "12", right) for i, right in enumerate((True, False, False, True))]


def results(folder: Path, said: list[tuple[str, str, str, float]]) -> Path:
    """A folder as evalscope 1.14.1 leaves it, as far as it is read; rows in the order in which answers came."""
    rows: dict[str, list[dict[str, Any]]] = {"predictions": [], "reviews": []}
    for index, (text, stop, read, value) in reversed(list(enumerate(said))):
        choice = {"message": {"content": text}, "stop_reason": stop}
        rows["predictions"].append({"index": index, "model_output": {"choices": [choice]}})
        score = {"value": {"accuracy": value}, "main_score_name": "accuracy", "extracted_prediction": read}
        rows["reviews"].append({"index": index, "sample_score": {"score": score}})
    for kind, lines in rows.items():
        path = folder / kind / "model" / "gsm8k_default.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_every_difference_has_its_cause(tmp_path: Path) -> None:
    with GradingPool(1, 2.0, 1024) as grader:
        items = compare(PROBLEMS, their_answers(results(tmp_path, SAID)), grader)
    assert [item.why for item in items] == [
        "",
        "read outside a box, where our rules see no answer",
        "read in a response that was cut off, which has no answer by our rules",
        "another response: two engines decode",
    ]
    text = report(items)
    assert "| ours, greedy | 50.0 [" in text
    assert "| evalscope | 75.0 [" in text
    assert "| evalscope's responses by our rules | 25.0 [" in text
    assert "| 1 | right | right | agree |" in text


def test_other_problems_and_folders_without_results_are_refused(tmp_path: Path) -> None:
    with GradingPool(1, 2.0, 1024) as grader, pytest.raises(UserError, match="scored 4 problems, the run has 3"):
        compare(PROBLEMS[:3], their_answers(results(tmp_path / "out", SAID)), grader)
    with pytest.raises(UserError, match="holds 0 results"):
        their_answers(tmp_path)


def test_problems_are_those_of_the_evaluation_in_its_order(tmp_path: Path) -> None:
    run = RunDirectory.open_existing(make_run(tmp_path / "r", iterations=1).path)
    problems = scored_problems(run, 1, most=3)
    assert [problem.right for problem in problems] == [True, True, False]
    write_data(problems, tmp_path / "data")
    first = json.loads((tmp_path / "data" / "test.jsonl").read_text().splitlines()[0])
    assert first == {"question": problems[0].question, "answer": f"#### {problems[0].gold}"}
