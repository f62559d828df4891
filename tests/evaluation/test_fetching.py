"""Data of benchmarks from a hub that a test makes up; the real one has not been asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.commands.benchmarks import fetch_benchmarks, list_benchmarks
from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import load_benchmark
from rzero_mega.evaluation.data_folder import MANIFEST, read_manifest
from rzero_mega.evaluation.definition import HubSource
from rzero_mega.evaluation.fetching import HuggingFace, fetch
from tests.loopback_server import serving

COMMIT = "0123456789abcdef"
AMC = [{"id": i, "problem": f"How much is {i}+1?", "answer": float(i + 1)} for i in range(40)]


class MadeUpHub:
    """Holds rows by repository."""

    def __init__(self, **rows: Iterable[Mapping[str, Any]]) -> None:
        self.data = {name.replace("__", "/"): list(some) for name, some in rows.items()}
        self.asked: list[HubSource] = []

    def commit(self, source: HubSource) -> str:
        self.asked.append(source)
        if source.repository not in self.data:
            raise UserError(f"{source.repository}: cannot be had from the hub: no network")
        return COMMIT

    def rows(self, source: HubSource, commit: str) -> Iterable[Mapping[str, Any]]:
        assert commit == COMMIT
        return iter(self.data[source.repository])


def quiet(_line: str) -> None: ...


def test_what_is_fetched_is_pinned_whole_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = MadeUpHub(zwhe99__amc23=AMC)
    fetch_benchmarks(["amc23"], tmp_path / "data", hub)
    assert f"zwhe99/amc23 at {COMMIT[:12]}, default/test" in capsys.readouterr().out
    found = read_manifest(tmp_path / "data")["amc23"]
    assert (found.items, found.revision, found.repository) == (40, COMMIT, "zwhe99/amc23")
    problems = load_benchmark("amc23", str(tmp_path / "data")).problems
    assert (problems[0].question, problems[0].answers) == ("How much is 0+1?", ("1",))
    fetch_benchmarks(["amc23"], tmp_path / "data", hub)
    assert len(hub.asked) == 1, "what is whole is not fetched again"
    (tmp_path / "data" / "amc23.jsonl").write_text("{}")
    fetch_benchmarks(["amc23"], tmp_path / "data", hub)
    assert len(hub.asked) == 2 and load_benchmark("amc23", str(tmp_path / "data")).problems == problems


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (AMC[:-1], "holds 39 problems, and amc23 has 40"),
        ([{"problem": "?"}], "row 1 has no field answer"),
        ([], "holds no problems"),
        ([{"problem": "?", "answer": object()}], "a field holds a object"),
    ],
)
def test_another_data_set_is_refused_and_nothing_is_left(rows: Any, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(complaint)):
        fetch_benchmarks(["amc23"], tmp_path, MadeUpHub(zwhe99__amc23=rows))
    assert list(tmp_path.iterdir()) == []


def test_one_that_cannot_be_had_leaves_the_others_alone(tmp_path: Path) -> None:
    outcomes = fetch(["gsm8k", "svamp", "amc23"], tmp_path, MadeUpHub(zwhe99__amc23=AMC), quiet)
    assert [outcome.file is not None for outcome in outcomes] == [False, False, True]
    assert "no network" in outcomes[0].reason and "put svamp.jsonl into" in outcomes[1].reason
    assert list(json.loads((tmp_path / MANIFEST).read_text())) == ["amc23"]


@pytest.mark.parametrize(("name", "hint"), [("math-500", "did you mean math500?"), ("zzzz", "there are aime24, ")])
def test_an_unknown_name_is_said_before_anything_is_fetched(name: str, hint: str, tmp_path: Path) -> None:
    hub = MadeUpHub()
    with pytest.raises(UserError, match=re.escape(hint)):
        fetch_benchmarks(["amc23", name], tmp_path / "data", hub)
    assert not hub.asked and not (tmp_path / "data").exists()


def test_without_the_package_that_reads_data_sets_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'rzero_mega\[benchmarks\]'"):
        HuggingFace().rows(HubSource("a/b"), COMMIT)


@contextmanager
def hub_server(status: int, body: Mapping[str, Any]) -> Iterator[str]:
    """A server on loopback that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None: ...

    with serving(Handler) as url:
        yield url


def test_the_hub_s_newest_commit_is_what_is_written_down() -> None:
    with hub_server(200, {"id": "a/b", "sha": COMMIT}) as endpoint:
        assert HuggingFace(endpoint).commit(HubSource("a/b")) == COMMIT


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_hub_that_does_not_have_it_is_one_line(status: int) -> None:
    with hub_server(status, {"error": "no"}) as endpoint, pytest.raises(UserError) as caught:
        HuggingFace(endpoint).commit(HubSource("a/b"))
    assert str(caught.value).startswith("a/b: cannot be had from the hub: ") and "\n" not in str(caught.value)


def test_the_list_says_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch_benchmarks(["amc23"], tmp_path, MadeUpHub(zwhe99__amc23=AMC))
    (tmp_path / "gsm8k.jsonl").write_text('{"question": "q", "answer": "#### 1"}')
    capsys.readouterr()
    list_benchmarks(str(tmp_path))
    out = " ".join(capsys.readouterr().out.split())
    assert "arithmetic" in out and "missing" in out and "whole" in out and "damaged" in out
