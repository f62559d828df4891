from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import check_documents


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    files = ("rzero_mega/rollout/engine.py", "rzero_mega/rollout/README.md", "tools/bench.py", "slurm/pyxis.yaml")
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "Makefile").write_text("nano:\n\ttrue\ntest-e2e: nano\n")
    (tmp_path / ".gitignore").write_text("runs/\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def found_in(root: Path, text: str, document: str = "README.md") -> list[str]:
    (root / document).write_text(text)
    there = {path for file in check_documents.tracked(root) for path in (file, *file.parents)}
    return check_documents.missing(root / document, there, root)


@pytest.mark.parametrize(
    "text",
    [
        "`tools/bench.py`, `python -m tools.bench --output X`, `python -m pip` and `slurm/`",
        "`rollout/engine.py` is named from the package",
        "`engine.py` alone, wherever it is",
        "```bash\nmake nano && cp slurm/pyxis.yaml mine.yaml\nmake test-e2e ARGS=-x\n```",
        "make sure that tools/other.py is prose",
        "`runs/nano/report.html`, `RUN/config.py`, `tools/*.py`, `Qwen/Qwen3-8B`, `~/x.py` and `/a/b.py` lie elsewhere",
    ],
)
def test_what_is_there_may_be_named(text: str, repository: Path) -> None:
    assert found_in(repository, text) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`tools/other.py`", ["tools/other.py"]),
        ("`rollout/decoding/`, on two\nlines: `python\ntools/gone.py`", ["rollout/decoding/", "tools/gone.py"]),
        ("`learner/model.py` (of a room that moved)", ["learner/model.py"]),
        ("`model.py`", ["model.py"]),
        ("```\nmake all\n```", ["make all"]),
        ("`python -m tools.gone --output X`", ["tools.gone"]),
        ("`make nano`, then `make tests`", ["make tests"]),
        ("    ```bash\n    cat tools/gone.py\n    ```\n`tools/bench.py`", ["tools/gone.py"]),
        ("~~~\n```\n~~~\n`tools/gone.py` after a fence in a fence", ["tools/gone.py"]),
    ],
)
def test_what_is_not_there_is_found(text: str, wrong: list[str], repository: Path) -> None:
    assert found_in(repository, text) == wrong


def test_names_are_read_from_the_document_s_folder(repository: Path) -> None:
    document = "rzero_mega/rollout/README.md"
    assert found_in(repository, "`engine.py`, `../../tools/bench.py`, `../other.py`", document) == ["../other.py"]


def test_the_command_names_the_document(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "README.md").write_text("`tools/gone.py`")
    assert check_documents.main(repository) == 1
    assert "README.md: tools/gone.py is not there" in capsys.readouterr().out
    (repository / "README.md").write_text("`tools/bench.py`")
    assert check_documents.main(repository) == 0
