"""What the image is built from, and what the versions in documents are: one with the files that install them."""

from __future__ import annotations

import re
import subprocess
from pathlib import PurePath

import pytest
import typer

from rzero_mega.rollout.sglang.server.installation import SGLANG
from tests import ROOT
from tools import check_environments as tool

DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
SENT = [line.removeprefix("!") for line in IGNORED if line.startswith("!")]


def test_what_the_dockerfile_copies_is_sent_to_the_builder_and_nothing_else_is() -> None:
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.M) for name in line.split()}
    assert IGNORED[0] == "*"
    assert set(SENT) == copied
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("name", [".git", ".venv", ".venv-sglang", "runs", "tests", "wandb", "shared"])
def test_history_environments_and_runs_are_not_sent(name: str) -> None:
    assert not any(PurePath(sent).is_relative_to(name) for sent in SENT)


def test_the_pins_are_those_of_the_image_that_is_built_on() -> None:
    (image,) = re.findall(r"^FROM (\S+)$", DOCKERFILE, re.M)
    assert f"# What {image} brings" in tool.IMAGE.read_text()
    assert tool.pins(tool.IMAGE.read_text()).keys() == {"torch", "transformer-engine"}


def test_the_servers_environment_is_sglang_s_and_not_the_learner_s() -> None:
    lock = tool.pins(tool.LOCK.read_text())
    assert lock["sglang"] == SGLANG
    assert lock["torch"] != tool.pins(tool.IMAGE.read_text())["torch"]
    assert "megatron-core" not in lock


def test_the_document_s_versions_are_those_that_are_installed() -> None:
    text = (ROOT / "tools" / "ENVIRONMENTS.md").read_text()
    rows = {cells[1]: cells for line in text.splitlines() if len(cells := [c.strip() for c in line.split("|")]) > 4}
    image, lock = tool.pins(tool.IMAGE.read_text()), tool.pins(tool.LOCK.read_text())
    made = tool.pins(tool.CONSTRAINTS.read_text())
    assert rows["torch"][2] == image["torch"].partition("+")[0] and rows["torch"][4] == lock["torch"]
    assert rows["Transformer Engine"][2:4] == [image["transformer-engine"], made["transformer-engine"]]
    assert rows["transformers"][3:5] == [made["transformers"], lock["transformers"]]
    assert rows["SGLang"][4] == SGLANG
    bounds = (ROOT / "pyproject.toml").read_text()
    for name, cells in (("torch", rows["torch"]), ("transformers", rows["transformers"])):
        assert f'"{name}{cells[5].replace(" ", "")}"' in bounds


@pytest.mark.parametrize("text", ["a==1\n", "# b\na==1  # c\n\n", "a==1"])
def test_pins_are_read(text: str) -> None:
    assert tool.pins(text) == {"a": "1"}


def test_the_resolver_s_words_are_shown_where_there_is_no_solution(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code(pytest.MonkeyPatch(), _raises) == 1
    assert "No solution found" in capsys.readouterr().err


def test_without_a_network_lint_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = "error: Failed to fetch\n  cause: error sending request for url (https://index/simple/torch/)"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 2, "", said))
    tool.main()
    assert "can't be reached" in capsys.readouterr().err


def test_a_second_cuda_beside_the_image_s_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code(pytest.MonkeyPatch(), lambda *_, **__: "torch==2.10.0\nnvidia-cublas==13\n") == 1
    assert "second CUDA: nvidia-cublas" in capsys.readouterr().err


def _raises(*_: object, **__: object) -> str:
    raise tool.Unresolvable("No solution found: torch 1 and torch 2")


def _code(monkeypatch: pytest.MonkeyPatch, resolved: object) -> int:
    with monkeypatch.context() as patched:
        patched.setattr(tool, "resolved", resolved)
        with pytest.raises(typer.Exit) as ended:
            tool.main()
    return ended.value.exit_code
