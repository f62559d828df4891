"""Values that would be shell: refused where NeMo-Run's scripts hold them bare, quoted in ours, as bash itself shows."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rzero_mega.cluster.cluster_file import ClusterFile, read_cluster_file
from rzero_mega.cluster.jobs import job_chain, job_prefix
from rzero_mega.cluster.nemo import of_a_session
from rzero_mega.cluster.script import Submission, batch_lines, step_script
from rzero_mega.cluster.submit import submission_of
from rzero_mega.coevolution.plan import iteration_plan
from rzero_mega.coevolution.stretch import JOB_PER
from rzero_mega.config import load_config
from rzero_mega.errors import UserError

HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "a; touch pwned",
    'n1"; touch pwned; "',
    "'; touch pwned; '",
    "a' --uid=0 '",
    "a --uid=0",
    "a b",
    "a&&touch pwned",
    "a|touch pwned",
    "a>pwned",
    "$HOME",
    "${HOME}",
    "a\\b",
    "a#b c",
    "*",
    "~",
    "!!",
    "-a",
    "--uid=0",
    "{{ 7*7 }}",
    "%j",
]
NAMES = ["account", "partition", "qos", "reservation", "exclude", "mem", "container_image", "constraint"]
PATHS = ["root", "secrets_file"]


def complaint(folder: Path, **keys: Any) -> str:
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump({"account": "a", "root": "/shared/me", **keys}))
    with pytest.raises(UserError) as caught:
        read_cluster_file(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("text", HOSTILE)
def test_what_would_be_shell_in_somebody_s_script_is_refused(text: str, tmp_path: Path) -> None:
    # A path of one's home folder is filled in here, and no shell's matter.
    for name in NAMES if text != "~" else NAMES[:-2]:
        assert complaint(tmp_path, **{name: text}).startswith(f"{name}: ")
    for name in PATHS:
        assert complaint(tmp_path, **{name: f"/x/{text} y"}).startswith(f"{name}: ")
    assert complaint(tmp_path, mounts=[f"/x/{text} y:/y"]).startswith("mounts: ")
    if "$" in text or "`" in text:
        assert complaint(tmp_path, env={"A": text}).startswith("env.A: ")


@pytest.mark.parametrize(
    "keys",
    [
        {"account": "ab12@v100", "partition": "gpu_p6,gpu_p5", "qos": "qos-t3", "reservation": "maint.1,b"},
        {"constraint": "(a100&ib)|[rack1*2|rack2]", "exclude": "n1,n[3-5,7],gpu-02.x", "mem": "500G"},
        {
            "container_image": "nvcr.io#nvidia/pytorch:25.01-py3",
            "mounts": ["/m:/m:ro,x-create=dir"[:8], "/a-b+c=d:/e@f"],
        },
        {"container_image": "docker://ghcr.io#me/x@sha256:0a1b", "root": "/gpfs/projet_é/me.2/rz"},
        {"wall_time": "1-00:00:00", "mem": "0"},
    ],
)
def test_what_sites_call_things_is_taken(keys: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump({"account": "a", "root": "/shared/me", **keys}), encoding="utf-8")
    found = read_cluster_file(path)
    assert all(getattr(found, name) == value for name, value in keys.items())


def test_a_site_s_file_is_taken_as_it_is_typed(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "account: 0123\nroot: ~/rz\nwall_time: 12:00:00\nenv: {A: off, B: 010, C: a b'c\"d, D: '#*!~;'}\n"
        "pre_commands: ['export X=${HOME}/x']\n"
    )
    found = read_cluster_file(path)
    assert (found.account, found.wall_time, found.root) == ("0123", "12:00:00", str(Path.home() / "rz"))
    assert found.env == {"A": "off", "B": "010", "C": "a b'c\"d", "D": "#*!~;"}
    assert found.pre_commands == ["export X=${HOME}/x"]


PROGRAMS = {
    "squeue": "echo 41 {jobs}",
    "scontrol": 'printf "%s\\n" "$@" >> {log}',
    "sinfo": 'printf "%s\\n" "$@" >> {log}; printf "n1\\nn2\\nn3\\n"',
    "scancel": "true",
    "timeout": 'shift; exec "$@"',
    "python": 'printf "%s\\n" "$@" >> {log}',
}


def bash(folder: Path, script: str, jobs: str) -> tuple[int, list[str]]:
    """Run a script with stand-ins for Slurm's clients; (exit code, arguments that they were given)."""
    log = folder / "log"
    for name, line in PROGRAMS.items():
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/bash\n{line.format(log=shlex.quote(str(log)), jobs=shlex.quote(jobs))}\n")
        program.chmod(0o755)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "41"}
    work = folder / "work"
    work.mkdir(exist_ok=True)
    done = subprocess.run(["bash", "-c", script], cwd=work, env=environment, capture_output=True, text=True)
    assert list(work.iterdir()) == [] and not done.stderr, done.stderr
    return done.returncode, log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize("text", HOSTILE)
def test_our_scripts_quote_whatever_they_are_given(text: str, tmp_path: Path) -> None:
    # As if nothing had been refused: the folder of the run, partition, nodes and secrets are all hostile.
    run = tmp_path / f"run {text}".replace("/", "_")
    (run / "jobs").mkdir(parents=True)
    (run / "jobs" / "failed_nodes").write_text("n3\n")
    secrets = run / "secrets"
    secrets.write_text("")
    submission = Submission(run, run / "jobs" / "config.yaml", 1)
    cluster = ClusterFile(account="a", root="/r", partition=text, exclude=text, secrets_file=str(secrets))
    job = job_chain(iteration_plan(load_config(["nano"], ["evaluation.base_model=false"])), "phase", links=2)[0]

    jobs = f"rz-{run.name}"
    code, given = bash(
        tmp_path, batch_lines(job, cluster, submission) + "\nall_done() { avoid_failed_nodes; }; false", jobs
    )
    assert code == 1
    assert f"--partition={text}" in given

    code, given = bash(tmp_path, step_script(job, cluster, submission), jobs)
    assert code == 0
    assert given[-7:] == ["-P", "-m", "rzero_mega", "node", str(submission.config), "1", "challenger"]


def test_nodes_to_avoid_are_one_argument(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "jobs").mkdir(parents=True)
    (run / "jobs" / "failed_nodes").write_text("n3\n")
    job = job_chain(iteration_plan(load_config(["nano"], ["evaluation.base_model=false"])), "phase", links=2)[0]
    submission = Submission(run, run / "jobs" / "config.yaml", 1)
    for exclude in ("n[1-2],n9", 'n1"; touch pwned; "'):
        script = batch_lines(job, ClusterFile(account="a", root="/r", exclude=exclude), submission)
        code, given = bash(tmp_path, script + "\nfalse", f"{job_prefix(run)}1-challenger-2")
        assert code == 1 and f"ExcNodeList={exclude},n3" in given


@pytest.mark.parametrize("per", JOB_PER)
def test_a_job_is_over_when_all_of_its_phases_are(per: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    plan = iteration_plan(load_config(["nano"], ["evaluation.base_model=false", "iterations=1"]))
    job = job_chain(plan, per, links=2)[0]
    submission = Submission(run, run / "jobs" / "config.yaml", 1)
    script = batch_lines(job, ClusterFile(account="a", root="/r"), submission)
    for phase in job.phases:
        assert bash(tmp_path, script + "\nexit 0", "another.1")[0] == 1
        manifest = run / "iterations" / "1" / phase / "manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text("{}")
    assert bash(tmp_path, script + "\nfalse", "another.1") == (0, [])
    _, given = bash(tmp_path, step_script(job, ClusterFile(account="a", root="/r"), submission), "another.1")
    assert given[given.index("node") + 2 :] == job.stretch.words


def test_a_run_s_name_that_nemo_run_would_replace_is_refused() -> None:
    config = load_config(["nano"], ["run.root=/shared", "run.name=nemo_run", "placement.gpus_per_node=8"])
    with pytest.raises(UserError, match=r"run\.name: NeMo-Run puts another path"):
        submission_of(config, ClusterFile(account="a", root="/shared"))


def test_a_session_s_variables_are_not_handed_on() -> None:
    session = {"SLURM_JOB_ID": "1", "SLURM_NTASKS_PER_NODE": "2", "SLURM_MEM_PER_CPU": "1", "SLURM_CPU_BIND": "x"}
    cluster = {"SLURM_CONF": "/etc/slurm.conf", "SLURM_CLUSTERS": "a", "PATH": "/bin", "SLURMD_X": "1"}
    assert of_a_session(session | cluster) == list(session)
