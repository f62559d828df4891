"""The environment that servers run in need not be the learner's; `tests/e2e/test_sglang_loop.py` runs with two."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

from rzero_mega.config.placement import Placement, ServerPlace
from rzero_mega.config.schema import RolloutConfig, SglangConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.pool import choices
from rzero_mega.rollout.sglang.server import installation as module
from rzero_mega.rollout.sglang.server.installation import (
    SGLANG,
    check_serving,
    environment_for,
    installation,
    learning,
    servers_python,
    this_python,
)
from rzero_mega.rollout.sglang.server.process import PROGRAM, check_startable
from tests import ROOT
from tests.second_environment import bare_environment

SAYS = """#!/bin/sh
cat <<'END'
{0}
END
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_environment(tmp_path_factory.mktemp("bare"))


def program(folder: Path, answer: str) -> Path:
    path = folder / "python"
    path.write_text(SAYS.format(answer))
    path.chmod(0o755)
    return path


def test_what_a_server_needs_of_this_package_needs_nothing_but_the_standard_library(bare: Path) -> None:
    done = subprocess.run([bare, "-P", PROGRAM], env={}, cwd="/", capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'sglang'"


def test_a_server_gets_this_package_and_nothing_that_lies_beside_it(bare: Path) -> None:
    code = f"""
import runpy, sys
sys.argv = ["serve"]
before = list(sys.path)
runpy.run_path({str(PROGRAM)!r})
import rzero_mega
print(rzero_mega.__file__, sys.path == before, "numpy" in sys.modules)
"""
    done = subprocess.run([bare, "-P", "-c", code], env={}, cwd="/", capture_output=True, text=True)
    assert done.stdout.split() == [str(ROOT / "rzero_mega" / "__init__.py"), "True", "False"], done.stderr


def test_the_release_of_sglang_is_the_one_that_is_installed_everywhere() -> None:
    assert f"sglang=={SGLANG}" in (ROOT / "Makefile").read_text()
    assert f"\nsglang=={SGLANG}\n" in (ROOT / "tools" / "sglang-gpu.txt").read_text()


def test_the_interpreter_of_the_run_is_the_default_and_links_stay_what_they_are(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert servers_python(None) == Path(sys.executable)
    assert bare.is_symlink() and servers_python(str(bare)) == bare
    monkeypatch.chdir(bare.parent)
    assert servers_python("python") == bare
    monkeypatch.setenv("HOME", str(bare.parents[1]))
    assert servers_python("~/bin/python") == bare


def test_an_interpreter_says_its_version_and_what_it_has(bare: Path) -> None:
    found = installation(bare, ("torch", "sglang"))
    assert (found.version, dict(found.packages)) == (sys.version_info[:3], {})
    release = ".".join(map(str, sys.version_info[:3]))
    assert str(found) == f"Python {release} ({bare})"
    assert learning().packages.keys() >= {"torch", "transformers", "megatron-core"}
    assert f"megatron-core {learning().packages['megatron-core']}" in str(learning())


def test_an_environment_without_sglang_is_refused_with_what_to_do(bare: Path) -> None:
    with pytest.raises(UserError, match=r"not installed for .*bare.*`make gpu` and rollout\.sglang\.python="):
        check_startable("127.0.0.1", None, bare)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ('[[3, 10, 2], {"sglang": "0.5.23"}]', "is Python 3.10; servers need 3.11 or newer"),
        ('[[3, 12, 3], {"sglang": "0.5.24"}]', "has SGLang 0.5.24; this version speaks to 0.5.23"),
        ("[[3, 12, 3]]", "does not answer as a Python interpreter does"),
        ("[[3, 12, 3], [1]]", "does not answer as a Python interpreter does"),
        ("[5, {}]", "does not answer as a Python interpreter does"),
        ("hello", "does not answer as a Python interpreter does"),
        ("", "does not answer as a Python interpreter does"),
    ],
)
def test_what_can_run_no_server_is_one_line_that_names_the_key(tmp_path: Path, answer: str, why: str) -> None:
    with pytest.raises(UserError) as raised:
        check_serving(program(tmp_path, answer))
    assert str(raised.value).startswith("rollout.sglang.python: ") and why in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_program_that_never_answers_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_S", 0.2)
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\nexec sleep 60\n")
    path.chmod(0o755)
    with pytest.raises(UserError, match="does not answer"):
        check_serving(path)


@pytest.mark.parametrize("kind", ["nothing", "a folder", "a file that can't be run", "a broken link"])
def test_a_path_that_is_no_program_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "python"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a file that can't be run":
        path.write_text("#!/bin/sh\n")
    elif kind == "a broken link":
        path.symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=rf"^rollout\.sglang\.python: {path} is no program here"):
        check_serving(path)


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ('{"nvidia-nccl-cu13": "2.29.2"}', ""),
        ('{"nvidia-nccl-cu13": "2.30.7"}', "the learner has 2.29.2, the servers 2.30.7"),
        ("{}", "the learner has 2.29.2, the servers one that is not known"),
    ],
)
def test_two_releases_of_nccl_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: str, why: str
) -> None:
    monkeypatch.setattr(choices, "device_of_servers", lambda: "cuda")
    monkeypatch.setattr("torch.cuda.nccl.version", lambda: (2, 29, 2))
    placement = Placement(1, (range(1),), (ServerPlace(0, 1),), shared_gpus=False)
    python = program(tmp_path, f"[[3, 12, 3], {theirs}]")
    rollout = RolloutConfig(engine="sglang", sglang=SglangConfig(python=str(python)))
    found = choices.sync_facts(placement, rollout).nccl_apart
    assert found.endswith(why) and bool(found) is bool(why)
    assert choices.sync_facts(placement, RolloutConfig()).nccl_apart == ""


def test_nothing_points_another_interpreter_into_this_environment(bare: Path) -> None:
    ours = site.getsitepackages()[0]
    given = {
        "PYTHONPATH": "/learner",
        "PYTHONHOME": "/usr",
        "PYTHONSTARTUP": "/x.py",
        "VIRTUAL_ENV": sys.prefix,
        "LD_LIBRARY_PATH": f"{ours}/torch/lib:/usr/local/cuda/lib64:{ours}",
        "LD_PRELOAD": f"{ours}/x.so",
        "PATH": "/bin",
        "HOME": "/root",
    }
    assert environment_for(bare, given) == {
        "LD_LIBRARY_PATH": "/usr/local/cuda/lib64",
        "LD_PRELOAD": "",
        "PATH": f"{bare.parent}{os.pathsep}/bin",
        "HOME": "/root",
    }
    assert environment_for(this_python(), given) == given
