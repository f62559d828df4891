"""Labelled data is read whole or named by its line, and holds nothing that is measured on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.config import Config, load_config
from rzero_mega.config.schema import EvaluationConfig
from rzero_mega.domains.arithmetic.expressions import is_held_out, truth, written_steps
from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import load_benchmarks
from rzero_mega.evaluation.labelled import LabelledExample, cleaned, labelled_text, load_labelled, parse_labelled
from rzero_mega.evaluation.texts import LABELLED, run_texts
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory, run_path

RIDDLE = "a farmer has seventeen sheep and all but nine run away how many are left on the farm tonight"


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    def config(method: str, rows: list[Any] | str, name: str = "data.jsonl", *overrides: str) -> Config:
        data = str(rows)
        if isinstance(rows, list):
            (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
            data = str(tmp_path / name)
        settings = (f"labelled.method={method}", f"labelled.data={data}", f"run.root={tmp_path / 'runs'}")
        return load_config(["paper", "nano"], [*settings, "run.minimum_free_mb=0", *overrides])

    return config


@pytest.mark.parametrize(
    ("method", "row", "message"),
    [
        ("grpo", {"answer": "2"}, "has neither question nor prompt; give one"),
        ("grpo", {"question": "1+1", "prompt": "Q:1+1", "answer": "2"}, "has both question and prompt; give one"),
        ("grpo", {"question": "1+1"}, "has neither answer nor completion"),
        ("grpo", {"question": "1+1", "completion": "2"}, "has no answer, which labelled.method grpo rewards"),
        ("grpo", {"question": "1+1", "answer": " "}, "answer is empty; fill it in"),
        ("grpo", {"question": "", "answer": "2"}, "question is empty"),
        ("sft", {"prompt": "1+1", "completion": "\n"}, "completion is empty"),
        ("sft", {"question": ["1+1"], "answer": "2"}, "question has to be a text or a number"),
        ("sft", {"question": "1+1", "answer": True}, "answer has to be a text or a number"),
        ("sft", ["1+1", "2"], "not readable as JSON: not an object"),
    ],
)
def test_what_is_wrong_with_a_line_is_named(config: Callable[..., Config], method: str, row: Any, message: str) -> None:
    good = {"question": "2+2", "answer": 4}
    with pytest.raises(UserError, match=rf"data\.jsonl:2: {message}"):
        run_texts(config(method, [good, row, {}]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("arithmetic:0", r"arithmetic:N takes an N from 1 to 20000"),
        ("arithmetic:many", r"arithmetic:N takes"),
        ("arithmetic", r"arithmetic:N takes"),
        ("missing.jsonl", r"'missing\.jsonl' is neither arithmetic:N nor a \.jsonl file"),
        ("data.csv", r"is neither"),
    ],
)
def test_data_that_is_not_there_is_named(config: Callable[..., Config], data: str, message: str) -> None:
    with pytest.raises(UserError, match=f"labelled.data: .*{message}"):
        load_labelled(config("grpo", data))


def test_a_file_without_examples_is_refused(config: Callable[..., Config]) -> None:
    with pytest.raises(UserError, match=r"data\.jsonl: holds no examples"):
        load_labelled(config("sft", []))


def test_a_method_needs_data_and_data_a_method() -> None:
    with pytest.raises(UserError, match=r"labelled\.data: labelled\.method sft needs it"):
        load_config(overrides=["labelled.method=sft"])
    with pytest.raises(UserError, match=r"labelled\.method: labelled\.data is for grpo or sft"):
        load_config(overrides=["labelled.data=my.jsonl"])


def test_the_run_keeps_the_examples_as_they_are(config: Callable[..., Config]) -> None:
    rows = [
        {"question": "a \u2028 line\n of two", "answer": 0.10},
        {"prompt": "<|user|>é", "completion": " So \\boxed{7}", "source": "mine"},
    ]
    found = config("sft", rows)
    text = labelled_text(found)
    assert text is not None and parse_labelled(text) == load_labelled(found)
    assert load_labelled(found) == [
        LabelledExample(1, question="a \u2028 line\n of two", answer="0.1"),
        LabelledExample(2, prompt="<|user|>é", completion=" So \\boxed{7}"),
    ]
    assert [example.target() for example in load_labelled(found)] == ["\\boxed{0.1}", " So \\boxed{7}"]
    assert labelled_text(load_config(["paper", "nano"])) is None


def test_the_arithmetic_world_s_answers_are_true_and_nothing_of_them_is_held_out(
    config: Callable[..., Config],
) -> None:
    examples = load_labelled(config("grpo", "arithmetic:500"))
    assert len({example.question for example in examples}) == 500
    for example in examples:
        assert example.question is not None and example.completion is not None
        assert example.answer == str(truth(example.question))
        steps = list(written_steps(example.question))
        assert example.completion == f"{';'.join(steps)}\\boxed{{{example.answer}}}"
        assert not any(is_held_out(asked) for asked in (example.question, *(step.split("=")[0] for step in steps)))
        assert all(truth(left) == int(right) for left, right in (step.split("=") for step in steps))
    again, other = (load_labelled(config("grpo", "arithmetic:500", "", f"seed={seed}")) for seed in (0, 1))
    assert again == examples and other != examples


def test_written_steps_do_products_first() -> None:
    assert list(written_steps("5-12*3*2+1")) == ["12*3=36", "36*2=72", "5-72=-67", "-67+1=-66"]
    with pytest.raises(ValueError, match="not an arithmetic expression"):
        list(written_steps("1+"))


def test_repetitions_and_what_benchmarks_ask_are_dropped_and_counted(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    (tmp_path / "bench.jsonl").write_text(
        json.dumps({"question": "What is  3+4?", "answer": "7"})
        + "\n"
        + json.dumps({"question": f"{RIDDLE} please", "answer": "9"})
    )
    asked = [
        ("1+1", "2"),
        (" 1+1", "2.0"),  # the same question, another target
        ("what is 3+4?", "7"),  # the benchmark's, in other letters
        (f"Think. {RIDDLE.upper()}?", "9"),  # more than thirteen words of a benchmark's
        ("a farmer has seventeen sheep", "17"),  # fewer
        ("1+1", "2"),
    ]
    rows = [{"question": question, "answer": answer} for question, answer in asked]
    leaked = {"prompt": "A riddle", "answer": "9", "completion": f"They ask: {RIDDLE}"}
    benchmarks = load_benchmarks(EvaluationConfig(benchmarks=[str(tmp_path / "bench.jsonl")]))
    for method, duplicates, lines in (("grpo", 2, [1, 5]), ("sft", 1, [1, 2, 5])):
        found = cleaned(load_labelled(config(method, [*rows, leaked])), method, benchmarks)
        assert found.dropped == {"duplicate": duplicates, "held_out": 3}
        assert [example.line for example in found.kept] == lines


def test_a_run_that_has_trained_refuses_other_data_and_takes_data_that_have_moved(
    config: Callable[..., Config], tmp_path: Path
) -> None:
    rows = [{"question": "1+1", "answer": "2"}, {"question": "2+2", "answer": "4"}]

    def open_run(found: Config, train: bool = False) -> None:
        with RunDirectory.create_or_open(run_path(found), found, writer=True, texts=run_texts(found)) as run:
            if train:
                phase = run.phase(1, PhaseName.SOLVER)
                phase.begin({})
                phase.finish({}, {})
            assert run.text(LABELLED) == labelled_text(found)

    open_run(config("grpo", rows), train=True)
    open_run(config("grpo", rows, "moved.jsonl"))
    rows[1]["answer"] = "5"
    with pytest.raises(
        UserError, match=r"labelled\.data: the text has changed: .*\"answer\": \"5\".*put back the text"
    ):
        open_run(config("grpo", rows))
    with pytest.raises(UserError, match=r"labelled\.method: grpo → sft"):
        open_run(config("sft", rows))
