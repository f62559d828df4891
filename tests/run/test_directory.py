"""Opening a run directory: resume, refusals, the lock, and bad storage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rzero_mega.config import Config, load_config, to_yaml
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory, read_events, run_path
from rzero_mega.run.sealed import read_sealed, write_sealed
from tests import ROOT


@pytest.fixture
def config() -> Config:
    return load_config()


def test_the_same_command_again_resumes(tmp_path: Path, config: Config) -> None:
    with RunDirectory.create_or_open(tmp_path / "run", config, writer=True) as run:
        first = run.info
    with RunDirectory.create_or_open(tmp_path / "run", config, writer=True) as run:
        assert run.info == first
        assert [event.event for event in read_events(run.events_path)] == ["created", "resumed"]


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path, config: Config) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        RunDirectory.create_or_open(tmp_path, config, writer=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path, config: Config) -> None:
    (tmp_path / "run").write_text("precious")
    with pytest.raises(UserError, match="is a file"):
        RunDirectory.create_or_open(tmp_path / "run", config, writer=True)
    with pytest.raises(UserError, match="a file, not a folder"):
        RunDirectory.create_or_open(tmp_path / "run" / "below", config, writer=True)


def test_a_lost_config_is_written_again(tmp_path: Path, config: Config) -> None:
    RunDirectory.create_or_open(tmp_path / "run", config, writer=True).close()
    (tmp_path / "run" / "config.yaml").unlink()
    assert RunDirectory.open_existing(tmp_path / "run").config == config
    RunDirectory.create_or_open(tmp_path / "run", config, writer=True).close()
    assert (tmp_path / "run" / "config.yaml").read_text() == to_yaml(config)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 1}'])
def test_a_malformed_run_json_is_named(tmp_path: Path, config: Config, content: str) -> None:
    RunDirectory.create_or_open(tmp_path / "run", config, writer=True).close()
    (tmp_path / "run" / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json"):
        RunDirectory.open_existing(tmp_path / "run")


def test_another_format_is_refused(tmp_path: Path, config: Config) -> None:
    RunDirectory.create_or_open(tmp_path / "run", config, writer=True).close()
    path = tmp_path / "run" / "run.json"
    write_sealed(path, {**read_sealed(path, ""), "format": 3})
    with pytest.raises(UserError, match="format 3"):
        RunDirectory.open_existing(tmp_path / "run")


def test_a_second_process_is_refused_and_told_who_holds_the_run(tmp_path: Path, config: Config) -> None:
    script = """
import sys
from pathlib import Path
from rzero_mega.config import load_config
from rzero_mega.errors import UserError
from rzero_mega.run import RunDirectory
try:
    RunDirectory.create_or_open(Path(sys.argv[1]), load_config(), writer=True)
except UserError as error:
    print(error)
"""
    with RunDirectory.create_or_open(tmp_path / "run", config, writer=True) as run:
        events = read_events(run.events_path)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        second = subprocess.run(
            [sys.executable, "-c", script, str(run.path)], env=environment, capture_output=True, text=True, check=True
        )
        assert f"in use by process {os.getpid()} on " in second.stdout
        assert read_events(run.events_path) == events


def test_other_ranks_and_readers_open_without_the_lock(tmp_path: Path, config: Config) -> None:
    with RunDirectory.create_or_open(tmp_path / "run", config, writer=True) as run:
        rank = RunDirectory.create_or_open(run.path, config, writer=False)
        assert not rank.writer and rank.is_alive()
        with pytest.raises(RuntimeError, match="rank 0"):
            rank.phase(1, PhaseName.SOLVER).begin({})
        with pytest.raises(RuntimeError, match="rank 0"):
            rank.event("hello")
        checkpoint = run.phase(1, PhaseName.CHALLENGER).checkpoint_path(1)
        checkpoint.mkdir(parents=True)
        with pytest.raises(UserError, match="seed: 0 → 1"):
            RunDirectory.create_or_open(run.path, load_config(overrides=["seed=1"]), writer=False)
    assert not rank.is_alive()


def test_latest_is_the_run_in_which_something_happened_last(tmp_path: Path, config: Config) -> None:
    with pytest.raises(UserError, match="holds no run"):
        RunDirectory.latest(tmp_path)
    for age, name in enumerate(("b", "c", "a")):
        RunDirectory.create_or_open(tmp_path / name, config, writer=True).close()
        for file in (tmp_path / name).glob("*.json*"):
            os.utime(file, (1e9 + age, 1e9 + age))
    assert RunDirectory.latest(tmp_path).path.name == "a"
    RunDirectory.create_or_open(tmp_path / "b", config, writer=True).close()
    assert RunDirectory.latest(tmp_path).path.name == "b"


def test_too_little_free_space_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = load_config(overrides=["run.minimum_free_mb=1000000000"])
    with pytest.raises(UserError, match=r"run\.minimum_free_mb: .* MB free"):
        RunDirectory.create_or_open(tmp_path / "run", config, writer=True)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def read_only(tmp_path: Path, config: Config) -> Iterator[Path]:
    folder = tmp_path / "read_only"
    RunDirectory.create_or_open(folder / "run", config, writer=True).close()
    for command in (["mount", "--bind", str(folder), str(folder)], ["mount", "-o", "remount,ro,bind", str(folder)]):
        done = subprocess.run(command, capture_output=True)
        if done.returncode:
            pytest.skip(f"a read-only bind mount is not permitted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_read_only_directory_is_one_line(read_only: Path, config: Config) -> None:
    for name in ("run", "new"):
        with pytest.raises(UserError, match="read-only") as caught:
            RunDirectory.create_or_open(read_only / name, config, writer=True)
        assert "\n" not in str(caught.value)


def test_a_read_only_run_can_still_be_read(read_only: Path) -> None:
    assert not RunDirectory.open_existing(read_only / "run").is_alive()


def test_the_folder_is_named_after_recipe_seed_and_ablation() -> None:
    assert run_path(load_config(overrides=["recipe=nano", "seed=3"])) == Path("runs/nano-seed3")
    assert run_path(load_config(overrides=["recipe=nano", "ablation=no_filter"])) == Path("runs/nano-seed0-no_filter")
    assert run_path(load_config(overrides=["run.name=mine", "run.root=/r"])) == Path("/r/mine")
    with pytest.raises(UserError, match=r"run\.name"):
        run_path(load_config(overrides=["run.name=../mine"]))


def test_the_lock_file_and_run_json_hold_no_configuration_secret(tmp_path: Path, config: Config) -> None:
    with RunDirectory.create_or_open(tmp_path / "run", config, writer=True) as run:
        assert set(json.loads((run.path / ".lock").read_text())) == {"pid", "host", "since"}
        assert run.info.versions["python"] == ".".join(map(str, sys.version_info[:3]))
