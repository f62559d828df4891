"""Files of problems as other people's programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import Problem, load_benchmark

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
    assert load_benchmark(written(tmp_path, data)).problems == (Problem("1+1?", "2", "all"),)


@pytest.mark.parametrize("number", ["7", "0.10", "12345678901234567890.10", "1e400", "-0", "1E5"])
def test_a_number_is_the_text_that_was_typed(number: str, tmp_path: Path) -> None:
    row = f'{{"question": "?", "answer": {number}, "level": {number}}}'
    assert load_benchmark(written(tmp_path, row)).problems == (Problem("?", number, number),)


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
