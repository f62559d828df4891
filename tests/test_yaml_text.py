"""YAML that stays what was typed, and the files that it is read from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rzero_mega.errors import UserError
from rzero_mega.text_file import read_text
from rzero_mega.yaml_text import Scalar, parse_yaml, read_yaml


def error_of(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "x.yaml")
    message = str(caught.value)
    assert message.startswith("x.yaml: ") and "\n" not in message
    return message


# What YAML 1.1 or 1.2 takes for something else than a text, or for another text.
GUESSED = [
    "007", "010", "0x1F", "0o17", "0b11", "1_000", "2025_11_03", "12:30", "12:00:00", "-1:30.5", "12e4567",
    "1e400", ".inf", "-.INF", ".nan", "NaN", "1.", ".5", "+1", "-0", "y", "n",
    "Y", "N", "yes", "No", "on", "OFF", "true", "False", "TRUE", "~", "null",
    "Null", "NULL", "2024-01-01", "2024-13-45", "2024-01-01T00:00:00Z", "<<", "=", "a#b", "a:b",
]  # fmt: skip


@pytest.mark.parametrize("text", GUESSED)
def test_a_scalar_is_the_text_that_was_typed(text: str) -> None:
    typed = Scalar(text, plain=True)
    assert parse_yaml(f"a: {text}\nb: [{text}]\n{text}: c # said\n", "x") == {
        "a": typed,
        "b": [typed],
        text: Scalar("c", True),
    }
    assert parse_yaml(f"a: '{text}'", "x") == {"a": Scalar(text, plain=False)}


def test_a_node_may_be_named_and_used_again() -> None:
    assert parse_yaml("a: &x [1]\nb: *x\n", "x") == {"a": [Scalar("1", True)], "b": [Scalar("1", True)]}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\ufeff"])
def test_nothing_is_an_empty_mapping(text: str) -> None:
    assert parse_yaml(text, "x") == {}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' appears a second time"),
        ("a: {b: 1, b: 2}\n", "the key 'b' appears a second time"),
        ("a: 1\n'a': 2\n", "line 2: the key 'a' appears a second time"),
        ("- a: 1\n  a: 2\n", "line 2: the key 'a' appears a second time"),
        ("? [a]\n: 1\n", "a key has to be a text"),
        ("? {a: 1}\n: 1\n", "a key has to be a text"),
        ("a: &x [1]\n*x : 2\n", "a key has to be a text"),
        ("a: " + "[" * 100_000, "nested deeper than 16 levels"),
        ("a: " + "{a: " * 100_000, "nested deeper than 16 levels"),
        ("\n".join(" " * n + "a:" for n in range(1000)), "line 17: nested deeper than 16 levels"),
        ("- " * 1000 + "a", "nested deeper than 16 levels"),
        ("a: &x [*x]\n", "*x names nothing"),
        ("a: *nothing\n", "*nothing names nothing"),
        ("a: !!int 3\n", "the tag tag:yaml.org,2002:int means nothing here"),
        ("a: !mine {}\n", "the tag !mine means nothing here"),
        ("!!python/object/apply:os.getcwd []\n", "means nothing here"),
        ("a: 1\n---\na: 2\n", "line 2: a second document begins"),
        ("a: [1\n", "line 2: while parsing a flow sequence"),
        ("a: 'b\n", "not readable as YAML"),
        ("a: b: c\n", "line 1: mapping values are not allowed here"),
        ("\ta: 1\n", "line 1"),
        ("%YAML 9.9\n---\na: 1\n", "found incompatible YAML document"),
        ("a: 1\nb: \x00\n", "line 2 holds the control character U+0000"),
        ("a: \x1b[31m\n", "line 1 holds the control character U+001B"),
        ("a: 1\nb: c\u2028d\n", r"line 2 holds U+2028, which breaks the line in YAML; write it as \u2028"),
        ("a: c\x85d\n", "line 1 holds U+0085"),
        ('a: "\\UFFFFFFFF"\n', "not readable as YAML"),
    ],
)
def test_what_has_no_one_meaning_is_refused(text: str, complaint: str) -> None:
    assert complaint in error_of(text)


def test_escapes_in_quotes_stand_for_any_character() -> None:
    assert parse_yaml(r'a: "\u2028\e\x85"', "x") == {"a": Scalar("\u2028\x1b\x85", False)}


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert read_yaml(path) == {"a": Scalar("1", True)}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"a: 1\nb: caf\xe9\n", "is not UTF-8 (byte 0xe9 on line 2); save it as UTF-8"),
        (bytes(range(256)), "is not UTF-8"),
        ("a: 1".encode("utf-16"), "is not UTF-8"),
        (b"a" * (5 << 20), "is larger than 4 MiB"),
    ],
)
def test_a_file_that_is_no_text_is_one_line(tmp_path: Path, data: bytes, complaint: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_text(path)
    assert str(caught.value).startswith(f"{path}: {complaint}")


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in [
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is no regular file"),
        (Path("/dev/zero"), "is no regular file"),
        (tmp_path / "nothing", "cannot be read: No such file"),
        (tmp_path / "dangling", "cannot be read: No such file"),
        (tmp_path / "loop", "cannot be read: Too many levels"),
        (tmp_path / "null\0", "cannot be read: embedded null byte"),
        (tmp_path / ("n" * 300), "cannot be read: File name too long"),
    ]:
        with pytest.raises(UserError) as caught:
            read_text(path)
        assert reason in str(caught.value) and str(path) in str(caught.value)


def test_a_file_that_nobody_may_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Modes stop nobody who is root: the system's answer is put in its place.
    def forbidden(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(UserError, match=r"x\.yaml: cannot be read: Permission denied"):
        read_text(tmp_path / "x.yaml")
