"""Public benchmarks: definitions, and the data where RZERO_MEGA_DATA names a folder with benchmarks/."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from rzero_mega.config.schema import EvaluationConfig
from rzero_mega.domains.mathematics.domain import MATHEMATICS
from rzero_mega.domains.problem import Problem
from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import Benchmark, load_benchmarks
from rzero_mega.evaluation.definition import benchmark_names, defined_benchmark, parse_definition, read_problems
from rzero_mega.evaluation.predictions import Response
from rzero_mega.evaluation.readings import READINGS, reading_named
from rzero_mega.evaluation.readings.text import same_text
from rzero_mega.evaluation.scores import judge
from rzero_mega.grading.workers.pool import GradingPool

DATA = Path(os.environ.get("RZERO_MEGA_DATA", "")) / "benchmarks"
HERE = [name for name in benchmark_names() if name not in ("bbeh", "supergpqa")]

SUPERGPQA = {
    "uuid": "0",
    "question": "Which gas do plants take in?",
    "options": ["oxygen", "carbon dioxide", "neon"],
    "answer": "carbon dioxide",
    "answer_letter": "B",
    "discipline": "Science",
    "field": "Biology",
    "subfield": "Botany",
    "difficulty": "easy",
    "is_calculation": False,
}


@pytest.fixture(scope="module")
def grader() -> Iterator[GradingPool]:
    with GradingPool(1, time_limit_s=5.0, memory_limit_mb=1024) as pool:
        yield pool


def data_file(name: str) -> Path:
    for path in (DATA / f"{name}.jsonl", DATA / f"{name}.json"):
        if path.is_file():
            return path
    pytest.skip(f"RZERO_MEGA_DATA names no folder with benchmarks/{name}.jsonl")


@pytest.mark.parametrize("name", benchmark_names())
def test_every_definition_is_whole(name: str) -> None:
    definition = defined_benchmark(name)
    assert definition.items is not None and definition.items > 0
    assert (definition.options is not None) == (definition.reading == "choices")
    assert (definition.protocol.samples > 1) == (definition.protocol.temperature > 0)


@pytest.mark.parametrize("name", HERE)
def test_every_item_is_read_and_its_own_answer_is_right(name: str, grader: GradingPool) -> None:
    definition = defined_benchmark(name)
    problems = read_problems(definition, data_file(name))
    assert len(problems) == definition.items
    reading = reading_named(definition.reading, MATHEMATICS)
    responses = [f"I think so. The answer is \\boxed{{{problem.answers[0]}}}." for problem in problems]
    predictions = [reading.prediction(text, problem) for text, problem in zip(responses, problems, strict=True)]
    given = [(prediction, problem) for prediction, problem in zip(predictions, problems, strict=True) if prediction]
    assert len(given) == len(problems)
    verdicts = reading.verdicts(given, grader)
    assert [problem.answers for problem, right in zip(problems, verdicts, strict=True) if not right] == []


@pytest.mark.parametrize("name", HERE)
def test_another_item_s_answer_is_wrong(name: str, grader: GradingPool) -> None:
    definition = defined_benchmark(name)
    problems = read_problems(definition, data_file(name))[:300]
    reading = reading_named(definition.reading, MATHEMATICS)
    pairs = [
        (other.answers[0], problem)
        for problem, other in pairwise(problems)
        if not set(map(_number, problem.answers)) & set(map(_number, other.answers))
    ]
    assert len(pairs) > 10
    assert sum(reading.verdicts(pairs, grader)) <= len(pairs) // 100


def _number(text: str) -> str:
    return re.sub(r"\D", "", text) or text.lower()


def test_an_item_of_supergpqa() -> None:
    definition = defined_benchmark("supergpqa")
    problem = definition.problem(SUPERGPQA)
    options = ("oxygen", "carbon dioxide", "neon")
    assert problem == Problem("Which gas do plants take in?", ("B",), "Science", options)
    reading = READINGS["choices"]
    assert "B. carbon dioxide" in reading.prompt(problem)
    assert reading.prediction("Plants take in carbon dioxide. The answer is carbon dioxide.", problem) == "B"


@pytest.mark.parametrize(
    ("name", "row", "right", "wrong"),
    [
        ("supergpqa", SUPERGPQA, "**Answer: B**", "The answer is (A)."),
        (
            "supergpqa",
            SUPERGPQA,
            "It is carbon dioxide, so the correct option is B.",
            "Both, (A) and (B).",
        ),
        ("mmlu_pro", {"question": "q", "options": ["7", "8"], "answer": "A"}, r"So \boxed{A}", r"So \boxed{8}"),
        ("bbeh", {"input": "q", "target": "[thursday]"}, "The answer is Thursday.", "The answer is Friday."),
        ("bbeh_mini", {"input": "q", "target": "[Dan, Kyle]"}, "The answer is: Dan,Kyle", "The answer is: Kyle, Dan"),
        ("bbeh_mini", {"input": "q", "target": "[]"}, r"\boxed{[]}", "The answer is: Dan"),
        ("asdiv", {"body": "b", "question": "q", "answer": "9 (apples)"}, r"\boxed{9\text{ apples}}", r"\boxed{19}"),
        ("aime24", {"problem": "q", "answer": "033"}, r"\boxed{33}", r"\boxed{330}"),
    ],
)
def test_an_invented_response_is_read_and_judged(
    name: str, row: dict[str, object], right: str, wrong: str, grader: GradingPool
) -> None:
    definition = defined_benchmark(name)
    benchmark = Benchmark(name, (definition.problem(row),), definition.reading)
    responses = [Response(name, 0, number, text, 9, "stop") for number, text in enumerate((right, wrong))]
    assert [judgement.right for judgement in judge(benchmark, responses, MATHEMATICS, grader)] == [True, False]


def test_all_that_is_here_loads_at_once() -> None:
    data_file(HERE[0])
    found = load_benchmarks(EvaluationConfig(benchmarks=HERE, data=str(DATA)))
    assert [(bench.name, len(bench.problems)) for bench in found] == [
        (name, defined_benchmark(name).items) for name in HERE
    ]


@pytest.mark.parametrize(
    ("name", "row", "answers"),
    [
        ("gsm8k", {"question": "q", "answer": "2 + 2 = 4\n#### 1,234"}, ("1,234",)),
        ("amc23", {"problem": "q", "answer": 27.0}, ("27",)),
        ("mawps", {"input": "q", "target": 0.75}, ("0.75",)),
        ("minerva_math", {"problem": "q", "solution": r"\boxed{1}, so \boxed{1e11}."}, ("1e11",)),
        ("asdiv", {"body": "b", "question": "q", "answer": "1.2 (liters of punch)"}, ("1.2", "1.2 liters of punch")),
        ("asdiv", {"body": "b", "question": "q", "answer": "Mrs. Hilt"}, ("Mrs. Hilt",)),
        ("olympiadbench", {"question": "q", "final_answer": ["$n=k+4$"]}, ("$n=k+4$",)),
    ],
)
def test_what_of_a_field_is_the_answer(name: str, row: dict[str, object], answers: tuple[str, ...]) -> None:
    assert defined_benchmark(name).problem(row).answers == answers


def test_a_question_s_braces_stay() -> None:
    row = {"problem": r"What is \frac{1}{2} of {x}?", "answer": "1"}
    assert defined_benchmark("math500").problem(row).question == r"What is \frac{1}{2} of {x}?"


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ("", "holds no problems"),
        ("{}", "row 1 has no field answer"),
        ('{"answer": "1"}', "row 1 does not fill {problem}"),
        ('{"problem": "q", "answer": ""}', "row 1 has no answer in ''"),
        ("[1]", "row 1"),
        ("{", "Expecting"),
        ("[" * 100_000, "math500"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, rows: str, what: str) -> None:
    file = tmp_path / "math500.jsonl"
    file.write_text(rows)
    with pytest.raises(UserError, match=re.escape(what)) as error:
        read_problems(defined_benchmark("math500"), file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("title: T", "MISSING|missing|Missing"),
        ("a: 1", "Key 'a'"),
        ("title: T\ngroup: x\nquestion: [q]\nanswer: [a]\nanswer_form: plain\nreading: text", "group 'x'"),
    ],
)
def test_a_broken_definition_names_its_key(text: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        parse_definition("mine", text)


@pytest.mark.parametrize(
    ("response", "answer", "right"),
    [
        ("Let's see. The answer is: (B).", "(B)", True),
        ("The final answer is B", "(B)", True),
        ("The answer is **unknown**.\nBecause nobody knows.", "unknown", True),
        (r"So \boxed{\text{thursday}}", "[thursday]", True),
        ("The answer is [thursday, friday]", "[thursday,friday]", True),
        ("The answer is 7.0", "7", True),
        ("The answer is Cesar's", "cesars", True),
        ("The answer is yes, no, yes", "yes,no,yes", True),
        ("The answer is yes, no", "yes, yes", False),
        ("The answer is 7.01", "7", False),
        ("The answer is (C)", "(B)", False),
    ],
)
def test_exact_text(response: str, answer: str, right: bool) -> None:
    prediction = READINGS["text"].prediction(response, Problem("q", (answer,)))
    assert prediction is not None and same_text(prediction, answer) is right


def test_no_answer() -> None:
    problem = Problem("q", ("a",), options=("x", "y"))
    assert {
        name: reading_named(name, MATHEMATICS).prediction("Hm.", problem) for name in (None, *READINGS)
    } == dict.fromkeys((None, *READINGS))
