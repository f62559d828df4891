"""`grid --cluster`: missing phases become jobs, those of a cell that starts from another behind its last."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest

from rzero_mega.cluster import submit
from rzero_mega.cluster.jobs import ChainedJob
from rzero_mega.cluster.script import Submission
from rzero_mega.commands.grid import Selection, root_of
from rzero_mega.commands.grid_jobs import submit_cells
from rzero_mega.errors import UserError
from rzero_mega.grid.file import read_grid
from tests.grid.cells import GRID, finish, grid_file

THREE = GRID.replace("[0, 1, 2]", "[0]") + "  more: {after: rzero}\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(f"account: test\nroot: {tmp_path}\ngpus_per_node: 8\njob_per: phase\njobs_per_phase: 1\n")
    return path


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Sequence[ChainedJob]]:
    """The jobs by run that a Slurm took which gives them the ids 1, 2, ..."""
    taken: dict[str, Sequence[ChainedJob]] = {}
    ids = count(1)

    def take(jobs: Sequence[ChainedJob], _cluster: object, submission: Submission) -> dict[str, str]:
        taken[submission.run.name] = jobs
        return {job.name: str(next(ids)) for job in jobs}

    monkeypatch.setattr(submit, "queued_jobs", lambda _prefix: [])
    monkeypatch.setattr(submit, "cancel_jobs", lambda ids: None)
    monkeypatch.setattr(submit, "submit_jobs", take)
    return taken


def test_a_cell_that_starts_from_another_waits_for_the_last_job_of_that(
    tmp_path: Path, cluster: Path, submitted: dict[str, Sequence[ChainedJob]]
) -> None:
    submit_cells(grid_file(tmp_path, THREE), cluster, Selection(), dry_run=False)
    assert list(submitted) == ["rzero-seed0", "no_filter-seed0", "more-seed0"]
    assert [jobs[0].after for jobs in submitted.values()] == [None, None, str(len(submitted["rzero-seed0"]))]


def test_what_is_finished_has_no_jobs_and_nobody_waits_for_it(
    tmp_path: Path, cluster: Path, submitted: dict[str, Sequence[ChainedJob]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = grid_file(tmp_path, THREE)
    cells = read_grid(file).cells(root_of(None, cluster))
    finish(cells[0], {})
    finish(cells[1], {}, phases=4)
    submit_cells(file, cluster, Selection(), dry_run=False)
    assert {run: (len(jobs), jobs[0].after) for run, jobs in submitted.items()} == {
        "no_filter-seed0": (len(cells[1].plan()) - 4, None),
        "more-seed0": (len(cells[2].plan()), None),
    }
    assert "[1/3] rzero-seed0 · finished" in capsys.readouterr().out


def test_a_dry_run_says_what_each_cell_waits_for_and_leaves_nothing(
    tmp_path: Path, cluster: Path, submitted: dict[str, Sequence[ChainedJob]], capsys: pytest.CaptureFixture[str]
) -> None:
    submit_cells(grid_file(tmp_path, THREE), cluster, Selection(), dry_run=True)
    assert "[3/3] more-seed0 · not begun · 0 of 6 phases finished · after rzero-seed0" in capsys.readouterr().out
    assert not submitted and not (tmp_path / "runs").exists()


def test_a_cell_that_does_not_fit_the_cluster_is_named_before_any_is_submitted(
    tmp_path: Path, cluster: Path, submitted: dict[str, Sequence[ChainedJob]]
) -> None:
    wrong = THREE.replace("{after: rzero}", "{after: rzero, overrides: [placement.gpus_per_node=4]}")
    with pytest.raises(UserError, match="more-seed0: gpus_per_node: the cluster's nodes have 8"):
        submit_cells(grid_file(tmp_path, wrong), cluster, Selection(), dry_run=False)
    assert not submitted


def test_a_root_beside_a_cluster_is_refused(cluster: Path) -> None:
    with pytest.raises(UserError, match=r"--root here: the root in .* says where runs on the cluster lie"):
        root_of(Path("here"), cluster)
