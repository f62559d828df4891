"""Files and folders are there whole or not at all; bad storage is named in one line."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rzero_mega import atomic
from rzero_mega.errors import UserError


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_line_and_leaves_the_old_file(small_disk: Path) -> None:
    path = small_disk / "data.json"
    atomic.write_bytes(path, b"old")
    with pytest.raises(UserError, match=r"data\.json: no space left") as caught:
        atomic.write_bytes(path, b"x" * 2**20)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in small_disk.iterdir()] == ["data.json"]


def test_a_full_disk_leaves_the_old_folder(small_disk: Path) -> None:
    with atomic.atomic_folder(small_disk / "model") as folder:
        (folder / "weights").write_bytes(b"old")
    with pytest.raises(UserError, match="model: no space left"), atomic.atomic_folder(small_disk / "model") as folder:
        (folder / "weights").write_bytes(b"x" * 2**20)
    assert (small_disk / "model" / "weights").read_bytes() == b"old"
    assert [entry.name for entry in small_disk.iterdir()] == ["model"]


def test_a_native_writer_that_meets_a_full_disk_is_recognised(small_disk: Path) -> None:
    numpy = pytest.importorskip("numpy")
    safetensors = pytest.importorskip("safetensors.numpy")
    with pytest.raises(UserError, match="no space left"), atomic.atomic_folder(small_disk / "model") as folder:
        safetensors.save_file({"w": numpy.zeros(2**18)}, folder / "model.safetensors")


def test_a_read_only_file_system_is_one_line(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(UserError, match=r"data\.json: the file system is read-only") as caught:
        atomic.write_bytes(small_disk / "data.json", b"x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({"a": {"b": float("nan")}}, r"a\.b \(nan\)"),
        ({"a": [1.0, float("inf")]}, r"a\.1 \(inf\)"),
        (float("nan"), "value"),
    ],
)
def test_a_number_that_json_lacks_is_named(tmp_path: Path, value: object, key: str) -> None:
    with pytest.raises(ValueError, match=key):
        atomic.write_json(tmp_path / "x.json", value)
    assert not list(tmp_path.iterdir())


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.dictionaries(st.text(st.characters()), st.none() | st.text(st.characters()) | st.integers())))
def test_any_text_survives_jsonl(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    atomic.write_jsonl(tmp_path / "rows.jsonl", rows)
    assert list(atomic.read_jsonl(tmp_path / "rows.jsonl")) == rows


@pytest.mark.parametrize("text", ["\ud800", "\u2028\u2029\x85", "\x00", "證明"])
def test_odd_text_survives_jsonl(tmp_path: Path, text: str) -> None:
    atomic.write_jsonl(tmp_path / "rows.jsonl", [{"t": text}])
    assert list(atomic.read_jsonl(tmp_path / "rows.jsonl")) == [{"t": text}]


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a":')
    with pytest.raises(UserError, match=r"rows\.jsonl: line 2"):
        list(atomic.read_jsonl(path))
    assert list(atomic.read_jsonl(path, skip_malformed=True)) == [{"a": 1}]


def test_deeply_nested_json_is_an_error_and_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"deep\.json"):
        atomic.read_json(path)


def test_an_exception_in_the_block_keeps_the_old_folder(tmp_path: Path) -> None:
    with atomic.atomic_folder(tmp_path / "model") as folder:
        (folder / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic.atomic_folder(tmp_path / "model") as folder:
        (folder / "a").write_text("new")
        raise ZeroDivisionError
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "a").read_text() == "old"


def test_recover_puts_the_old_folder_back_when_its_successor_never_came(tmp_path: Path) -> None:
    (tmp_path / ".model.0123abcd.old").mkdir()
    (tmp_path / ".model.0123abcd.old" / "a").write_text("old")
    (tmp_path / ".model.89abcdef.tmp").mkdir()
    (tmp_path / "unrelated.tmp").write_text("mine")
    atomic.recover(tmp_path)
    assert (tmp_path / "model" / "a").read_text() == "old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model", "unrelated.tmp"]


def test_the_hash_of_a_folder_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    for name, files in {"a": ("x", "sub/y"), "b": ("sub/y", "x"), "c": ("x", "sub/z")}.items():
        for file in files:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(os.path.basename(file))
    assert atomic.sha256(tmp_path / "a") == atomic.sha256(tmp_path / "b") != atomic.sha256(tmp_path / "c")
    (tmp_path / "b" / "x").write_text("changed")
    assert atomic.sha256(tmp_path / "a") != atomic.sha256(tmp_path / "b")


def test_json_is_readable_by_people(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "x.json", {"question": "2×3 ≤ 7?"})
    assert "2×3 ≤ 7?" in (tmp_path / "x.json").read_text()
    assert json.loads((tmp_path / "x.json").read_text()) == {"question": "2×3 ≤ 7?"}
