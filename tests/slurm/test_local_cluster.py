"""The cluster of virtual nodes does what the tests of submission rely on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import lives
from tests.slurm.virtual_cluster import VirtualCluster, command, wait_until

pytestmark = pytest.mark.slurm

# A job that waits to be ended from outside, in a step on each of its nodes.
WAITS = 'echo "start ${SLURM_RESTART_COUNT:-0}"; srun --ntasks-per-node=1 sleep 1000'


@pytest.fixture(autouse=True)
def left_as_found(cluster: VirtualCluster) -> Iterator[None]:
    yield
    cluster.reset()


def processes_of(folder: Path) -> list[str]:
    """Command lines of running processes that have the folder in their command line or as their SLURM_CONF."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments, variables = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:  # ended, or another user's
            continue
        if str(folder).encode() in arguments or f"SLURM_CONF={folder}/slurm.conf".encode() in variables.split(b"\0"):
            found.append(arguments.replace(b"\0", b" ").decode())
    return found


def test_nodes_come_up_idle_with_their_gpus(cluster: VirtualCluster) -> None:
    nodes = cluster.nodes()
    assert {name: (node["State"], node["Gres"]) for name, node in nodes.items()} == {
        "n1": ("IDLE", "gpu:8"),
        "n2": ("IDLE", "gpu:8"),
    }


def test_a_job_of_two_nodes_runs_on_both_and_sees_all_their_gpus(cluster: VirtualCluster) -> None:
    job = cluster.submit(
        "srun --ntasks-per-node=1 bash -c 'echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES'",
        "--nodes=2",
        "--gpus-per-node=8",
    )
    assert cluster.wait(job) == "COMPLETED"
    assert sorted(cluster.output(job).splitlines()) == ["n1 0,1,2,3,4,5,6,7", "n2 0,1,2,3,4,5,6,7"]


def test_jobs_share_a_node_but_no_gpu(cluster: VirtualCluster) -> None:
    jobs = [
        cluster.submit(f"echo $CUDA_VISIBLE_DEVICES; {WAITS}", "--nodelist=n1", "--gpus-per-node=4") for _ in range(2)
    ]
    waits = cluster.submit("true", "--nodelist=n1", "--gpus-per-node=1")
    for job in jobs:
        cluster.wait_output(job, "start")
    assert sorted(cluster.output(job).splitlines()[0] for job in jobs) == ["0,1,2,3", "4,5,6,7"]
    assert cluster.state(waits) == "PENDING"


def test_a_job_starts_after_the_one_that_it_depends_on_however_that_ended(cluster: VirtualCluster) -> None:
    first = cluster.submit("sleep 2; exit 3")
    second = cluster.submit("true", f"--dependency=afterany:{first}")
    never = cluster.submit("true", f"--dependency=afterok:{first}", "--kill-on-invalid-dep=yes")
    assert [cluster.wait(job) for job in (first, second, never)] == ["FAILED", "COMPLETED", "CANCELLED"]


def test_a_requeued_job_restarts_under_its_id(cluster: VirtualCluster) -> None:
    job = cluster.submit(WAITS, "--requeue", "--nodes=2")
    cluster.wait_output(job, "start 0")
    cluster.run(["scontrol", "requeue", job])
    cluster.wait_output(job, "start 1")
    assert cluster.jobs()[job]["Restarts"] == "1"


def test_a_preempted_job_is_told_by_sigterm_requeued_and_finishes(cluster: VirtualCluster) -> None:
    # Each task writes into the file itself: what it gave to srun may be lost with srun.
    events = cluster.folder / "log" / "preempted"
    step = f"trap 'echo told >> {events}; exit 1' TERM; echo ready >> {events}; while :; do sleep 0.1; done"
    job = cluster.submit(
        f"""echo "start ${{SLURM_RESTART_COUNT:-0}}" >> {events}
        [ "${{SLURM_RESTART_COUNT:-0}}" = 0 ] || exit 0
        srun --ntasks-per-node=1 bash -c "{step}" || sleep 1000""",
        "--requeue",
        "--nodes=2",
        "--gpus-per-node=8",
    )
    # Both tasks must have set their traps: before, SIGTERM ends them without a word.
    wait_until(lambda: events.exists() and events.read_text().count("ready") == 2, lambda: str(cluster.jobs()[job]))
    urgent = cluster.submit("true", "--partition=urgent", "--nodes=1", "--gpus-per-node=8")
    assert cluster.wait(urgent) == "COMPLETED"
    assert cluster.wait(job) == "COMPLETED"
    assert events.read_text().splitlines() == ["start 0", "ready", "ready", "told", "told", "start 1"]


def test_a_step_gets_its_signal_before_the_job_runs_into_its_wall_time(cluster: VirtualCluster) -> None:
    step = "trap 'echo warned' USR1; trap 'echo ended; exit 1' TERM; echo ready; while :; do sleep 0.1; done"
    job = cluster.submit(f'srun --ntasks=1 bash -c "{step}"', "--signal=USR1@20")
    cluster.wait_output(job, "ready")
    # Slurm looks at time limits every 30 seconds: this is the next look but one.
    cluster.run(["scontrol", "update", f"JobId={job}", "EndTime=now+31"])
    assert cluster.wait(job) == "TIMEOUT"
    lines = [line for line in cluster.output(job).splitlines() if line in {"ready", "warned", "ended"}]
    assert lines == ["ready", "warned", "ended"]


def test_a_drained_node_takes_no_job(cluster: VirtualCluster) -> None:
    cluster.run(["scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=test"])
    jobs = [cluster.submit("srun printenv SLURMD_NODENAME") for _ in range(2)]
    both = cluster.submit("true", "--nodes=2")
    for job in jobs:
        assert cluster.wait(job) == "COMPLETED"
        assert cluster.output(job) == "n2\n"
    assert cluster.state(both) == "PENDING"


def test_a_job_on_a_node_that_goes_down_is_requeued_and_runs_on_another(cluster: VirtualCluster) -> None:
    script = 'echo "start $SLURM_JOB_NODELIST"; [ "$SLURM_JOB_NODELIST" = n2 ] || srun sleep 1000'
    job = cluster.submit(script, "--requeue")
    cluster.wait_output(job, "start n1")
    cluster.run(["scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=test"])
    assert cluster.wait(job) == "COMPLETED"
    assert [line for line in cluster.output(job).splitlines() if "start" in line] == ["start n1", "start n2"]


def test_what_a_killed_process_of_a_step_leaves_behind_ends_with_the_step(cluster: VirtualCluster) -> None:
    job = cluster.submit("srun --ntasks=1 bash -c 'sleep 1000 & echo child $!; kill -9 $$'")
    assert cluster.wait(job) == "FAILED"
    child = cluster.output(job).split()[1]
    wait_until(lambda: not lives(int(child)), lambda: f"{child} lives")


def test_a_pending_job_can_be_kept_from_a_node(cluster: VirtualCluster) -> None:
    job = cluster.submit("srun printenv SLURMD_NODENAME", "--hold")
    cluster.run(["scontrol", "update", f"JobId={job}", "ExcNodeList=n1"])
    cluster.run(["scontrol", "release", job])
    assert cluster.wait(job) == "COMPLETED"
    assert cluster.output(job) == "n2\n"


def test_sacct_s_stand_in_agrees_with_scontrol(cluster: VirtualCluster) -> None:
    finished = cluster.submit("true", "--job-name=two words.finished")
    failed = cluster.submit("exit 3", "--job-name=failed")
    cancelled = cluster.submit(WAITS, "--job-name=cancelled")
    running = cluster.submit(WAITS, "--job-name=running")
    pending = cluster.submit("true", "--job-name=pending", "--hold")
    cluster.wait_output(cancelled, "start")
    cluster.run(["scancel", cancelled])
    states = {finished: "COMPLETED", failed: "FAILED", cancelled: "CANCELLED", running: "RUNNING", pending: "PENDING"}
    for job, state in states.items():
        cluster.wait(job, {state})
    header, *rows = cluster.run(["sacct", "--parsable2", "-j", ",".join(states)]).splitlines()
    assert header == "JobID|JobName|Partition|Account|AllocCPUS|State|ExitCode"
    jobs = cluster.jobs()
    assert sorted(rows) == sorted(
        f"{job}|{jobs[job]['JobName']}|batch||{jobs[job]['NumCPUs']}|{state}|{jobs[job]['ExitCode']}"
        for job, state in states.items()
    )
    assert f"{failed}|failed|batch||1|FAILED|3:0" in rows
    assert cluster.run(["sacct", "--parsable2", "-j", "999999"]).splitlines() == [header]


def test_a_second_up_on_a_running_folder_says_so_in_one_line(cluster: VirtualCluster) -> None:
    done = command("up", cluster.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{cluster.folder}: already up; `down` ends it\n"


def test_two_clusters_run_side_by_side_and_the_end_of_one_leaves_the_other_alone(
    cluster: VirtualCluster, start_cluster: Callable[..., VirtualCluster]
) -> None:
    other = start_cluster("--nodes", "1", "--gpus", "2")
    assert {name: node["Gres"] for name, node in other.nodes().items()} == {"n1": "gpu:2"}
    job = cluster.submit(WAITS)
    cluster.wait_output(job, "start")
    assert other.wait(other.submit("srun true")) == "COMPLETED"
    assert command("down", other.folder).returncode == 0
    assert cluster.state(job) == "RUNNING"
    assert cluster.wait(cluster.submit("srun true")) == "COMPLETED"


@pytest.mark.parametrize("dead", ["", "slurmctld", "slurmd.n1", "munged"])
def test_down_leaves_no_process_not_even_with_a_daemon_dead_and_a_deaf_job(
    start_cluster: Callable[..., VirtualCluster], dead: str
) -> None:
    other = start_cluster()
    # Setsid: a process that its job's end does not reach.
    job = other.submit(
        "trap '' TERM; srun --ntasks-per-node=1 bash -c 'setsid sleep 1000 & echo up; sleep 1000'", "-N2"
    )
    wait_until(lambda: other.output(job).count("up") == 2, lambda: other.output(job))
    if dead:
        os.kill(int((other.folder / "pid" / dead).read_text()), 9)
    done = command("down", other.folder)
    assert done.returncode == 0, done.stderr
    assert processes_of(other.folder) == []
    assert [entry.name for entry in other.folder.iterdir()] == ["log"]
