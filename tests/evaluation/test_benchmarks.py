"""Files of problems as other people's programs write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rzero_mega.config.schema import EvaluationConfig, SamplingConfig
from rzero_mega.domains.arithmetic.expressions import is_held_out, truth
from rzero_mega.domains.benchmark import Protocol
from rzero_mega.domains.problem import Problem
from rzero_mega.errors import UserError
from rzero_mega.evaluation.asking import Asking, asking
from rzero_mega.evaluation.benchmarks import held_out_questions, load_benchmark, load_benchmarks
from rzero_mega.evaluation.data_folder import MANIFEST
from rzero_mega.evaluation.texts import benchmarks_text, parse_benchmarks

ROW = '{"question": "1+1?", "answer": "2"}\n'


def written(folder: Path, data: bytes | str) -> str:
    path = folder / "mine.jsonl"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


@pytest.mark.parametrize(
    "text", ["a\u2028b", "a\u2029b", "a\x85b", "a\x0bb", "a\x0cb", "a\x1cb", "a\xa0b", "\ufeffa", "日本"]
)
def test_a_line_ends_at_a_line_feed_and_nowhere_else(text: str, tmp_path: Path) -> None:
    # A control character is written as JSON has it.
    typed = "".join(c if c >= " " else f"\\u{ord(c):04x}" for c in text)
    found = load_benchmark(written(tmp_path, ROW.replace("1+1?", typed) + ROW))
    assert [problem.question for problem in found.problems] == [text, "1+1?"]


@pytest.mark.parametrize(
    "data",
    [ROW, ROW.strip(), f"\ufeff{ROW}", f"\n{ROW}\n\n", ROW.replace("\n", "\r\n"), f"  \n{ROW}\t\n", f"\r\n{ROW}"],
)
def test_byte_order_marks_and_blank_lines_are_no_problems(data: str, tmp_path: Path) -> None:
    assert load_benchmark(written(tmp_path, data)).problems == (Problem("1+1?", ("2",), "all"),)


@pytest.mark.parametrize("number", ["7", "0.10", "12345678901234567890.10", "1e400", "-0", "1E5"])
def test_a_number_is_the_text_that_was_typed(number: str, tmp_path: Path) -> None:
    row = f'{{"question": "?", "answer": {number}, "level": {number}}}'
    assert load_benchmark(written(tmp_path, row)).problems == (Problem("?", (number,), number),)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (ROW.encode() + b'{"question": "it\x92s", "answer": "1"}\n', "is not UTF-8 (byte 0x92 on line 2)"),
        (ROW.encode("utf-16"), "is not UTF-8"),
        (ROW + "[1]\n", ":2: not readable as JSON: not an object"),
        (ROW + "{\n", ":2: not readable as JSON"),
        ("[" * 100_000, ":1: not readable as JSON"),
        (
            '{"question": "a", "question": "b", "answer": "1"}',
            ":1: not readable as JSON: the key 'question' appears twice",
        ),
        ('{"question": "a", "answer": NaN}', "NaN is no number in JSON"),
        ('{"question": "a"}', ":1: question, answer and level"),
        ('{"question": "a", "answer": null}', ":1: question, answer and level"),
        ('{"question": null, "answer": "1"}', ":1: question, answer and level"),
        ('{"question": "a", "answer": true}', ":1: question, answer and level"),
        ('{"question": "a", "answer": ["1"]}', ":1: question, answer and level"),
        ('{"question": " ", "answer": "1"}', ":1: question, answer and level"),
        ('{"question": "a", "answer": "1", "level": null}', ":1: question, answer and level"),
        ("", "holds no problems"),
        ("\n\n", "holds no problems"),
    ],
)
def test_what_is_no_row_is_named_by_its_line(data: bytes | str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_benchmark(written(tmp_path, data))
    assert complaint in str(caught.value) and "mine.jsonl" in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_of_that_name_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").mkdir()
    with pytest.raises(UserError, match=r"mine\.jsonl: is a folder"):
        load_benchmark(str(tmp_path / "mine.jsonl"))


GSM8K_ROW = '{"question": "1+1?", "answer": "It is 2.\\n#### 2"}\n'


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["arithmetics"], "did you mean arithmetic?"),
        (["math-500"], "did you mean math500?"),
        (["qwertyuiop"], "is neither arithmetic"),
        (["missing.jsonl"], "'missing.jsonl'"),
        (["arithmetic:101"], "problems per level go from 1 to 100"),
        (["clock:85"], "problems per level go from 1 to 84"),
        (["gsm8k", "math500", "arithmetic"], "gsm8k.jsonl: is missing; "),
        (["gsm8k", "math500", "arithmetic"], "`rzero-mega benchmarks fetch gsm8k math500 --to "),
        (["svamp", "gsm8k"], "`rzero-mega benchmarks fetch gsm8k --to "),
        (["svamp", "gsm8k"], "svamp.jsonl: on no hub that is known here, put into "),
    ],
)
def test_what_is_no_benchmark_or_has_no_data_is_one_line(names: list[str], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_benchmarks(EvaluationConfig(benchmarks=names, data=str(tmp_path)))
    assert complaint in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gsm8k:0", "gsm8k:", "gsm8k:x", "gsm8k:-1"])
def test_a_part_has_a_size(name: str) -> None:
    with pytest.raises(UserError, match=r"NAME:N asks for N problems"):
        load_benchmark(name)


def test_without_a_folder_the_error_says_how_to_name_one() -> None:
    with pytest.raises(UserError, match=r"gsm8k, svamp: no data; evaluation\.data=FOLDER"):
        load_benchmarks(EvaluationConfig(benchmarks=["gsm8k", "svamp:3"]))


@pytest.mark.parametrize(
    ("fetched", "complaint"), [({}, "malformed"), ([], "malformed"), ({"sha256": "0" * 64}, "is not what was fetched")]
)
def test_data_that_is_not_what_was_fetched_is_refused(fetched: object, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "gsm8k.jsonl").write_text(GSM8K_ROW)
    row = {"file": "gsm8k.jsonl", "items": 1, "repository": "openai/gsm8k", "revision": None}
    whole = {**row, **fetched} if isinstance(fetched, dict) and fetched else fetched
    (tmp_path / MANIFEST).write_text(json.dumps({"gsm8k": whole}))
    with pytest.raises(UserError, match=complaint):
        load_benchmarks(EvaluationConfig(benchmarks=["gsm8k"], data=str(tmp_path)))


def test_data_with_another_number_of_problems_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gsm8k.jsonl").write_text(GSM8K_ROW)
    with pytest.raises(UserError, match=r"holds 1 problems, and gsm8k has 1319"):
        load_benchmark("gsm8k", str(tmp_path))


def test_a_part_of_a_benchmark_is_always_the_same(tmp_path: Path) -> None:
    rows = [GSM8K_ROW.replace("1+1", f"1+{i}") for i in range(1319)]
    (tmp_path / "gsm8k.jsonl").write_text("".join(rows))
    whole = load_benchmark("gsm8k", str(tmp_path))
    some, more = (load_benchmark(f"gsm8k:{n}", str(tmp_path)) for n in (20, 40))
    assert (some.name, some.group, some.reading) == ("gsm8k:20", "mathematics", "mathematics")
    assert len(some.problems) == 20 and set(some.problems) < set(more.problems) < set(whole.problems)
    assert list(some.problems) == [problem for problem in whole.problems if problem in some.problems]
    assert some.problems != whole.problems[:20]


def test_a_definition_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"q": "Which?", "choices": ["x", "y"], "gold": "B", "kind": "easy"}\n')
    definition = tmp_path / "mine.yaml"
    text = (
        "title: Mine\ngroup: general\nquestion: ['{q}']\nanswer: [gold]\nanswer_form: plain\noptions: choices\n"
        "level: [kind]\nreading: choices\nprotocol: {samples: 4, temperature: 0.6, max_new_tokens: 64}\n"
    )
    definition.write_text(f"{text}file: data.jsonl\n")
    found = load_benchmark(str(definition))
    assert found.problems == (Problem("Which?", ("B",), "easy", ("x", "y")),)
    assert (found.name, found.reading, found.group) == ("mine", "choices", "general")
    assert found.protocol == Protocol(4, 0.6, 1.0, 64)
    assert parse_benchmarks(benchmarks_text([found])) == [found]
    definition.write_text(text)
    with pytest.raises(UserError, match="names no file"):
        load_benchmark(str(definition))
    definition.write_text(f"{text}file: other.jsonl\n")
    with pytest.raises(UserError, match=r"other\.jsonl"):
        load_benchmark(str(definition))


def test_the_second_family_of_nano_is_a_benchmark_of_transfer() -> None:
    arithmetic, clock = load_benchmarks(EvaluationConfig(benchmarks=["arithmetic", "clock"]))
    assert (arithmetic.group, clock.group) == ("mathematics", "transfer")
    assert (len(arithmetic.problems), len(clock.problems)) == (500, 252)
    assert clock.problems[0] == Problem("(34+1)%30", ("5",), "1")
    assert [problem.level for problem in load_benchmark("clock:2").problems] == ["1", "1", "2", "2", "3", "3"]
    kept = parse_benchmarks(benchmarks_text([arithmetic, clock]))
    assert [(benchmark.name, benchmark.group) for benchmark in kept] == [
        ("arithmetic", "mathematics"),
        ("clock", "transfer"),
    ]


def test_2500_further_problems_are_asked_greedily_and_none_of_them_is_in_arithmetic() -> None:
    arithmetic, further = load_benchmarks(EvaluationConfig(benchmarks=["arithmetic", "arithmetic_2500"]))
    asked = {problem.question for problem in further.problems}
    assert len(further.problems) == len(asked) == 2500
    assert not asked & {problem.question for problem in arithmetic.problems}
    assert all(map(is_held_out, asked))
    assert all(problem.answers == (str(truth(problem.question)),) for problem in further.problems)
    assert further.protocol == Protocol(samples=1, temperature=0.0, max_new_tokens=256)
    assert asking(further, EvaluationConfig()) == Asking(True, 0, SamplingConfig(temperature=0.0, max_new_tokens=256))
    assert parse_benchmarks(benchmarks_text([further])) == [further]
    assert held_out_questions([further])(further.problems[-1].question)
    assert [problem.level for problem in load_benchmark("arithmetic_2500:1").problems] == ["1", "2", "3", "4", "5"]
