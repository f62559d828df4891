"""Phases as jobs: chains, and what a second submission adds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.cluster.jobs import job_chain, job_prefix, missing_phases
from rzero_mega.coevolution.plan import PhasePlan, iteration_plan
from rzero_mega.config import load_config
from rzero_mega.phase_name import PhaseName


def plan(iterations: int = 2) -> list[PhasePlan]:
    return iteration_plan(load_config(["paper", "nano"], [f"iterations={iterations}", "evaluation.base_model=false"]))


def key(phase: PhasePlan) -> tuple[int, PhaseName]:
    return phase.iteration, phase.name


PLAN = plan()
KEYS = [key(phase) for phase in PLAN]


def test_each_job_waits_for_the_one_before_it() -> None:
    jobs = job_chain(plan()[:2], links=2)
    assert [(job.name, job.after) for job in jobs] == [
        ("1-challenger-1", None),
        ("1-challenger-2", "1-challenger-1"),
        ("1-questions-1", "1-challenger-2"),
        ("1-questions-2", "1-questions-1"),
    ]


def test_the_first_job_waits_for_one_that_slurm_has_already() -> None:
    assert job_chain(plan()[:1], links=1, after="17")[0].after == "17"


def test_no_job_s_name_begins_with_the_name_of_another_phase() -> None:
    jobs = job_chain(plan(12), links=2)
    for phase in {job.phase_prefix for job in jobs}:
        assert {(job.iteration, job.phase) for job in jobs if job.name.startswith(phase)} == {
            (int(phase.split("-")[0]), phase.split("-")[1])
        }


def test_runs_of_the_same_name_in_different_folders_have_different_jobs() -> None:
    assert job_prefix(Path("/a/nano-seed0")) != job_prefix(Path("/b/nano-seed0"))
    assert job_prefix(Path("/a/nano-seed0")).startswith("rz-nano-seed0-")


def test_a_run_s_jobs_are_found_by_whatever_path_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs" / "x"
    run.mkdir(parents=True)
    (tmp_path / "link").symlink_to(run.parent)
    monkeypatch.chdir(tmp_path)
    assert job_prefix(Path("runs/x")) == job_prefix(tmp_path / "link" / "x") == job_prefix(run)


def test_a_new_run_misses_everything() -> None:
    assert missing_phases(plan(), set(), []) == (plan(), [])


def test_jobs_past_a_hole_are_of_no_use() -> None:
    missing, useless = missing_phases(plan(), set(KEYS[:2]), [KEYS[2], KEYS[4], KEYS[5]])
    assert [key(phase) for phase in missing] == KEYS[3:]
    assert useless == [KEYS[4], KEYS[5]]


@given(st.integers(0, len(KEYS)), st.sets(st.sampled_from(KEYS)))
def test_whatever_waits_every_phase_that_is_left_is_done_once(done: int, waiting: set[tuple[int, PhaseName]]) -> None:
    finished = set(KEYS[:done])
    ordered = [phase for phase in KEYS if phase in waiting]
    missing, useless = missing_phases(PLAN, finished, ordered)
    kept = [phase for phase in ordered if phase not in useless and phase not in finished]
    assert kept + [key(phase) for phase in missing] == KEYS[done:]
