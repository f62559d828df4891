"""What is built holds what is written: no package, preset, prompt or template stays behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
# Of the repository, which package it becomes.
ELSEWHERE = {"recipes": "rzero_mega/recipes", "slurm": "rzero_mega/cluster/examples"}
DATA = {"recipes/grids": "rzero_mega/recipes/grids"}
BUILD = "import sys; from setuptools.build_meta import {0}; {0}(sys.argv[1])"


def test_every_package_is_listed() -> None:
    found = {file.parent.relative_to(ROOT) for file in (ROOT / "rzero_mega").rglob("__init__.py")}
    packages = {".".join(folder.parts) for folder in found if "cpu_stubs" not in folder.parts}
    assert set(SETUPTOOLS["packages"]) == packages | {name.replace("/", ".") for name in ELSEWHERE.values()}


@pytest.fixture(scope="module")
def sources() -> set[str]:
    """Names of the repository's files, as git has or would take them."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name for name in names if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(sources: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source archive and a wheel, built from a copy: building leaves files beside the sources."""
    copy, target = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("built")
    for name in sources:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    for step in ("build_sdist", "build_wheel"):
        command = [sys.executable, "-c", BUILD.format(step), str(target)]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return target


def test_the_source_archive_is_the_repository(built: Path, sources: set[str]) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    made = {name for name in names if name in ("PKG-INFO", "setup.cfg") or name.startswith("rzero_mega.egg-info/")}
    assert names - made == sources


def test_the_wheel_holds_every_file_of_the_packages_but_documents(built: Path, sources: set[str]) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {name for name in sources if name.startswith("rzero_mega/")}
    expected -= {name for name in expected if name.endswith(".md") and "/assets/" not in name}
    for folder, package in (ELSEWHERE | DATA).items():
        here = (Path(name) for name in sources if Path(name).parent == Path(folder))
        expected |= {f"{package}/{file.name}" for file in here if file.suffix in (".py", ".yaml")}
    assert names == expected


def test_whoever_imports_the_wheel_gets_its_types_and_metadata(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        text = wheel.read(metadata).decode()
        licences = [name for name in wheel.namelist() if name.endswith("/LICENSE")]
    assert "License-Expression: Apache-2.0" in text and "Typing :: Typed" in text and len(licences) == 1
