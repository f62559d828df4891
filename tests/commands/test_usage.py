"""A command line that means nothing is one line that says what to write; help, version and completion are there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rzero_mega import __version__, cli
from rzero_mega.assets import nano_base_path
from rzero_mega.commands.convert import folder_of
from rzero_mega.commands.usage import complete_recipe, complete_run, complete_setting
from rzero_mega.errors import UserError
from tests.tracking.synthetic import write_synthetic_run


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("config nano --seed 1", "--seed: no such option; settings are written key=value: seed=1"),
        ("config nano --seed=4", "--seed: no such option; settings are written key=value: seed=4"),
        ("run nano --solver.training.steps 3", "settings are written key=value: solver.training.steps=3"),
        ("run nano --lr 1e-5", "solver.training.optimizer.learning_rate=1e-5 or challenger.training."),
        ("run nano --dryrun", "--dryrun: no such option; did you mean --dry-run?"),
        ("run nano --frobnicate", "No such option: --frobnicate; `rzero-mega run --help` says what there is"),
        ("satus", "satus: no such command; did you mean status?"),
        ("nano seed=1", "nano: no such command; to run the recipe, write `rzero-mega run nano seed=1`"),
        ("xyzzy", "xyzzy: no such command; there are run, phase, "),
        ("run", "Missing argument"),
        ("plan --model Qwen3-8B --gpus many", "--gpus"),
        ("run qwen3-8b", "qwen3-8b: no such recipe, preset or YAML file; did you mean qwen3_8b?"),
        ("run Qwen/Qwen3-8B-Base", "did you mean qwen3_8b?"),
        ("run nano.yml", "nano.yml: no such file; "),
        ("run seed=1", "seed=1: the recipe goes before key=value settings"),
    ],
)
def test_a_wrong_command_line_is_answered_with_what_to_write(
    arguments: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["rzero-mega", *arguments.split()])
    with pytest.raises(UserError) as caught:
        cli._command()
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_s_folder_given_as_recipe_names_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    monkeypatch.setattr(sys, "argv", ["rzero-mega", "run", str(tmp_path)])
    with pytest.raises(UserError, match=r"is a folder; its configuration is .*config\.yaml"):
        cli._command()


def test_help_and_version_have_their_usual_names() -> None:
    invoke = CliRunner().invoke
    assert invoke(cli.app, ["--version"]).output == f"{__version__}\n"
    assert invoke(cli.app, ["-h"]).output == invoke(cli.app, ["--help"]).output != ""
    assert invoke(cli.app, ["run", "-h"]).exit_code == 0


def test_shells_complete_recipes_keys_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "run.json").write_text("{}")
    (tmp_path / "mine.yaml").write_text("seed: 1\n")
    assert complete_recipe("qwen3_8") == ["qwen3_8b"] and complete_recipe("mi") == ["mine.yaml"]
    assert complete_setting("solver.training.st") == ["solver.training.steps="]
    assert "solver." in complete_setting("so")
    assert complete_run("") == ["runs/mine", "runs/"]
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # CI has no shell above it to detect
    assert CliRunner().invoke(cli.app, ["--show-completion", "bash"]).exit_code == 0


@pytest.mark.parametrize("rank", [None, "0"])
def test_an_interruption_while_the_command_is_being_imported_is_no_traceback(rank: str | None, tmp_path: Path) -> None:
    # What is imported first of all that takes time, sends the signal and takes longer.
    (tmp_path / "typer.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n")
    environment = {name: value for name, value in os.environ.items() if name != "RANK"}
    environment |= {"PYTHONPATH": str(tmp_path)} | ({"RANK": rank} if rank else {})
    code = "import sys; from rzero_mega.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (130, "" if rank else "rzero-mega: interrupted\n")


def test_the_entry_imports_nothing_that_takes_time() -> None:
    code = "import sys; before = set(sys.modules); import rzero_mega.__main__; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {
        "__future__",
        "collections.abc",
        "enum",
        "operator",
        "functools",
        "collections",
        "keyword",
        "reprlib",
        "rzero_mega",
        "rzero_mega.__main__",
        "signal",
        "types",
        "itertools",
        "_collections",
        "_functools",
        "_operator",
    }


def test_a_report_goes_into_a_folder_that_is_made_and_never_over_one(tmp_path: Path) -> None:
    write_synthetic_run(tmp_path / "run").close()
    invoke = CliRunner().invoke
    done = invoke(cli.app, ["report", str(tmp_path / "run"), "--output", str(tmp_path / "new" / "deep" / "page.html")])
    assert done.exit_code == 0 and (tmp_path / "new" / "deep" / "page.html").is_file()
    done = invoke(cli.app, ["report", str(tmp_path / "run"), "--output", str(tmp_path / "new")])
    assert isinstance(done.exception, UserError) and "is a folder; name a file in it" in str(done.exception)
    done = invoke(cli.app, ["report", str(tmp_path / "run"), "--output", str(tmp_path / "run" / "run.json" / "x.html")])
    assert isinstance(done.exception, UserError) and "run.json" in str(done.exception)


def test_a_model_to_convert_is_named_as_one_to_score(tmp_path: Path) -> None:
    assert folder_of("asset:nano_base") == nano_base_path() == folder_of(str(nano_base_path()))
    with pytest.raises(UserError, match="asset:nano_bass is not shipped"):
        folder_of("asset:nano_bass")
    with pytest.raises(UserError, match="no such folder"):
        folder_of(str(tmp_path / "missing"))
