"""How the nodes of a job find each other, and what is remembered of jobs."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from rzero_mega.errors import UserError
from rzero_mega.run.job import Ended, JobFolder, JobPlace, Leader, failed_nodes, local_place, place_from, read_end
from rzero_mega.run.job_logs import job_folders, last_end, log_file, text_of

SLURM = {
    "SLURM_JOB_ID": "17",
    "SLURM_RESTART_COUNT": "2",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_NODES": "4",
    "SLURMD_NODENAME": "n2",
}


def place(node: int = 0, job: str = "17") -> JobPlace:
    return JobPlace(job, 0, node, 2, f"n{node + 1}")


def test_slurm_says_which_node_this_is() -> None:
    assert place_from(SLURM, "host") == JobPlace("17", 2, 1, 4, "n2")


def test_without_slurm_a_job_has_one_node() -> None:
    found = place_from({}, "host")
    assert (found.node, found.nodes, found.name) == (0, 1, "host")


def test_a_shell_inside_an_allocation_is_no_node_of_it() -> None:
    assert place_from({"SLURM_JOB_ID": "17"}, "host").nodes == 1


def test_the_other_nodes_find_the_first_and_its_key(tmp_path: Path) -> None:
    first, second = JobFolder(tmp_path, place(0)), JobFolder(tmp_path, place(1))
    keys: list[str] = []
    thread = threading.Timer(0.3, lambda: keys.append(first.publish_leader(Leader("host", 4242))))
    thread.start()
    leader, key = second.find_leader(30.0, lambda: True)
    thread.join()
    assert leader == Leader("host", 4242)
    assert [key] == keys
    assert stat.S_IMODE((first.path / "key").stat().st_mode) == 0o600


def test_a_node_that_is_told_to_stop_does_not_wait_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"leader\.json"):
        JobFolder(tmp_path, place(1)).find_leader(30.0, lambda: False)


def test_the_key_goes_when_the_job_ends(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path, place())
    folder.publish_leader(Leader("host", 1))
    assert folder.ended() is None
    folder.publish_end(Ended(75, "stopped"))
    assert not (folder.path / "key").exists()
    assert read_end(folder.path) == Ended(75, "stopped")


def test_the_first_node_is_told_why_another_failed(tmp_path: Path) -> None:
    JobFolder(tmp_path, place(1)).publish_failure("node n2: torch.OutOfMemoryError")
    assert JobFolder(tmp_path, place(0)).failures() == ["node n2: torch.OutOfMemoryError"]


def test_failed_nodes_are_names_and_nothing_else(tmp_path: Path) -> None:
    for node in (1, 0, 1):
        JobFolder(tmp_path, place(node)).note_failed_node()
    with (tmp_path / "jobs" / "failed_nodes").open("a") as file:
        file.write("$(reboot)\n")
    assert failed_nodes(tmp_path) == ["n1", "n2"]


def test_logs_are_those_of_the_last_job(tmp_path: Path) -> None:
    for number in ("9", "10"):
        folder = JobFolder(tmp_path, place(job=number))
        folder.publish_leader(Leader("host", 1))
        (folder.path / "rank-0000.log").write_text(f"job {number}\n")
        folder.publish_end(Ended(0 if number == "9" else 1, "why"))
    assert [folder.name for folder in job_folders(tmp_path)] == ["9-0", "10-0"]
    assert "".join(text_of(log_file(tmp_path, None, 0), True, lambda: False)) == "job 10\n"
    assert "".join(text_of(log_file(tmp_path, "9", 0), False, lambda: False)) == "job 9\n"
    assert last_end(tmp_path) == Ended(1, "why")


def test_a_log_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no log yet"):
        log_file(tmp_path, None, 0)
    (JobFolder(tmp_path, place()).path / "rank-0000.log").touch()
    with pytest.raises(UserError, match="ranks 0000"):
        log_file(tmp_path, None, 3)
    with pytest.raises(UserError, match="no job 99"):
        log_file(tmp_path, "99", 0)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"SLURM_NODEID": "4"}, "SLURM_NODEID: 4, but SLURM_STEP_NUM_NODES is 4"),
        ({"SLURM_NODEID": "one"}, "SLURM_NODEID: 'one' is not a number"),
        ({"SLURM_NODEID": "-1"}, "SLURM_NODEID"),
        ({"SLURM_NODEID": ""}, "SLURM_NODEID"),
        ({"SLURM_STEP_NUM_NODES": "n1(x2)"}, "SLURM_STEP_NUM_NODES"),
        ({"SLURM_RESTART_COUNT": "9" * 5000}, "SLURM_RESTART_COUNT"),
        ({"SLURM_JOB_ID": "../../elsewhere"}, "SLURM_JOB_ID"),
        ({"SLURM_JOB_ID": "17\n"}, "SLURM_JOB_ID"),
    ],
)
def test_variables_that_are_none_of_a_step_are_named(variables: dict[str, str], named: str) -> None:
    with pytest.raises(UserError) as caught:
        place_from(SLURM | variables, "host")
    assert named in str(caught.value)


def test_local_phases_have_jobs_of_their_own_inside_an_interactive_session(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    found = local_place("host")
    assert (found.node, found.nodes, found.restart, found.name) == (0, 1, 0, "host")
    assert found.job.startswith("local-")
