"""A run that the guard stops, `rzero-mega replay` of what it left, and the run going on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from rzero_mega.commands.replay import open_replay
from rzero_mega.errors import UserError
from tests.e2e.command import TINY, run

pytestmark = [pytest.mark.e2e, pytest.mark.gloo]

PHASE = ["phase", "nano", "1", "challenger", *TINY, "run.name=guarded", "learner.processes=1"]
FAILURE = "runs/guarded/iterations/1/challenger/failures/step_00001_update_1"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run that its first update stopped, and what the command said."""
    folder = tmp_path_factory.mktemp("guarded")
    result = run(folder, *PHASE, "learner.guard.maximum_gradient_norm=1e-6")
    assert result.returncode == 2, result.stderr
    return folder, result.stderr


def test_a_stopped_run_is_one_line_with_the_command_that_replays_it(stopped: tuple[Path, str]) -> None:
    folder, said = stopped
    (line,) = said.splitlines()
    assert line.startswith("rzero-mega: step 1, update 1: gradient norm")
    assert f"rzero-mega replay {FAILURE};" in line
    events = [json.loads(event) for event in (folder / "runs/guarded/events.jsonl").read_text().splitlines()]
    assert "update_failed" in [event["event"] for event in events]


def test_a_replay_gives_the_run_s_numbers_in_another_layout(stopped: tuple[Path, str]) -> None:
    folder, _ = stopped
    result = run(folder, "replay", FAILURE, "learner.layout.tp=2", "learner.processes=2")
    assert result.returncode == 0, result.stderr
    *_, whole, before, _, _, verdict = result.stdout.splitlines()
    assert whole.startswith("update: ") and before.startswith("the run had: ") and verdict == "reproduced"
    ours, theirs = ([float(x) for x in re.findall(r"(?:loss|norm) (\S+?)[,:]", line)[:2]] for line in (whole, before))
    assert len(ours) == 2 and ours == pytest.approx(theirs, abs=1e-5, rel=1e-5)


def test_the_run_goes_on_with_another_guard(stopped: tuple[Path, str]) -> None:
    folder, _ = stopped
    result = run(folder, *PHASE, "learner.guard.non_finite=skip")
    assert result.returncode == 0, result.stderr
    metrics = folder / "runs/guarded/iterations/1/challenger/metrics.jsonl"
    rows = [json.loads(row) for row in metrics.read_text().splitlines()]
    assert [row["skipped_updates"] for row in rows] == [0, 0]
    assert all(row["logprob_difference_max"] >= row["logprob_difference"] for row in rows)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("failure.json", None, r"failure\.json: missing"),
        ("failure.json", "{}", r"failure\.json: malformed"),
        ("failure.json", "[1", r"failure\.json: not readable as JSON"),
        ("config.yaml", None, r"config\.yaml: missing"),
        ("config.yaml", "no_such_key: 1", "no_such_key: no such key"),
        ("batch.safetensors", None, r"batch\.safetensors: not readable"),
        ("batch.safetensors", "text", r"batch\.safetensors: not readable"),
        ("model/config.json", "text", r"config\.json"),
        ("model", None, "give the weights with --model"),
    ],
)
def test_a_folder_that_lacks_something_is_refused_by_name(
    stopped: tuple[Path, str], tmp_path: Path, file: str, content: str | None, words: str
) -> None:
    copy = tmp_path / "failure"
    shutil.copytree(stopped[0] / FAILURE, copy)
    path = copy / file
    if content is not None:
        path.write_text(content)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(UserError, match=words):
        open_replay(copy, None, [])


def test_a_layout_that_does_not_fit_is_refused_before_anything_starts(stopped: tuple[Path, str]) -> None:
    with pytest.raises(UserError, match=r"learner\.processes"):
        open_replay(stopped[0] / FAILURE, None, ["learner.layout.tp=3"])
