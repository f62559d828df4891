"""Phases as jobs: chains, and what a second submission adds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.cluster.jobs import job_chain, job_prefix, missing_phases, stretch_of
from rzero_mega.coevolution.plan import PhasePlan, iteration_plan
from rzero_mega.coevolution.stretch import JOB_PER, Stretch
from rzero_mega.config import load_config
from rzero_mega.phase_name import PhaseName


def plan(iterations: int = 2) -> list[PhasePlan]:
    return iteration_plan(load_config(["paper", "nano"], [f"iterations={iterations}", "evaluation.base_model=false"]))


def key(phase: PhasePlan) -> tuple[int, PhaseName]:
    return phase.iteration, phase.name


PLAN = plan()
RUN = Path("/runs/x")
KEYS = [key(phase) for phase in PLAN]


def test_each_job_waits_for_the_one_before_it() -> None:
    jobs = job_chain(plan()[:2], "phase", links=2)
    assert [(job.name, job.after) for job in jobs] == [
        ("1-challenger-1", None),
        ("1-challenger-2", "1-challenger-1"),
        ("1-questions-1", "1-challenger-2"),
        ("1-questions-2", "1-questions-1"),
    ]


def test_jobs_of_iterations_have_all_that_is_missing_of_theirs() -> None:
    jobs = job_chain(plan()[2:], "iteration", links=2)
    assert [(job.name, job.after) for job in jobs] == [
        ("1-iteration-1", None),
        ("1-iteration-2", "1-iteration-1"),
        ("2-iteration-1", "1-iteration-2"),
        ("2-iteration-2", "2-iteration-1"),
    ]
    phases = tuple(name for name in PhaseName if name not in (PhaseName.VERIFIER, PhaseName.CRITIC))
    assert [job.phases for job in jobs[::2]] == [phases[2:], phases]


def test_the_first_job_waits_for_one_that_slurm_has_already() -> None:
    assert job_chain(plan()[:1], "phase", links=1, after="17")[0].after == "17"


@pytest.mark.parametrize("per", JOB_PER)
def test_no_job_s_name_begins_with_the_name_of_another_stretch(per: str) -> None:
    jobs = job_chain(plan(12), per, links=2)
    for prefix in {job.stretch_prefix for job in jobs}:
        (stretch,) = {job.stretch for job in jobs if job.name.startswith(prefix)}
        assert stretch_of(f"{job_prefix(RUN)}{prefix}7", RUN) == stretch


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
    waiting = [Stretch(*KEYS[number]) for number in (2, 4, 5)]
    missing, useless = missing_phases(plan(), set(KEYS[:2]), waiting)
    assert [key(phase) for phase in missing] == KEYS[3:]
    assert useless == waiting[1:]


STRETCHES = [*(Stretch(*phase) for phase in KEYS), Stretch(1), Stretch(2)]


@given(st.integers(0, len(KEYS)), st.sets(st.sampled_from(STRETCHES)))
def test_whatever_waits_every_phase_that_is_left_is_done(done: int, waiting: set[Stretch]) -> None:
    finished = set(KEYS[:done])
    ordered = [stretch for stretch in STRETCHES if stretch in waiting]
    missing, useless = missing_phases(PLAN, finished, ordered)
    submitted, left = {key(phase) for phase in missing}, KEYS[done:]
    waited_for = {phase for stretch in ordered if stretch not in useless for phase in left if stretch.has(*phase)}
    assert waited_for | submitted == set(left)
    # What is submitted comes after all that others do: it is the end of the plan, and nobody else does any of it.
    assert [key(phase) for phase in missing] == left[len(left) - len(missing) :]
    assert not waited_for & submitted
