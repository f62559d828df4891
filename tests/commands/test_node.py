"""What a node of a job does around its processes: what it refuses, and what it says of an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from rzero_mega.coevolution.stretch import Stretch
from rzero_mega.commands.node import HARDWARE, run_node, why_of
from rzero_mega.config import Config, load_config, to_yaml
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory, run_path
from rzero_mega.run.job import JobPlace


def config(root: Path, *overrides: str) -> Config:
    return load_config(["paper", "nano"], [f"run.root={root}", "run.minimum_free_mb=0", *overrides])


PLACE = JobPlace("17", 0, 0, 1, "n1")
SOLVER = Stretch(1, PhaseName.SOLVER)


def node(config: Config, stretch: Stretch = SOLVER) -> int:
    """The exit code of a node of a job that runs this configuration."""
    file = Path(config.run.root) / "config.yaml"
    file.write_text(to_yaml(config))
    return run_node(file, stretch, PLACE)


@pytest.mark.parametrize(("stretch", "phases"), [(SOLVER, [PhaseName.SOLVER]), (Stretch(1), list(PhaseName))])
def test_what_is_finished_ends_its_job_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stretch: Stretch, phases: list[PhaseName]
) -> None:
    wanted = config(tmp_path)
    RunDirectory.create_or_open(run_path(wanted), wanted, writer=True).close()
    for name in phases:
        manifest = run_path(wanted) / "iterations" / "1" / name / "manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text("{}")
    assert node(wanted, stretch) == 0
    assert capsys.readouterr().out == f"{stretch} · finished before\n"
    assert not (run_path(wanted) / "jobs").exists()


def test_a_job_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"placement\.nodes: 2"):
        node(config(tmp_path, "placement.nodes=2"))


def test_an_interpreter_that_can_run_no_server_is_refused_where_there_are_servers(tmp_path: Path) -> None:
    wanted = config(tmp_path, "rollout.engine=sglang", "rollout.sglang.python=/gone/python")
    RunDirectory.create_or_open(run_path(wanted), wanted, writer=True).close()
    with pytest.raises(UserError, match=r"rollout\.sglang\.python: /gone/python is no program here"):
        node(wanted)
    assert not (run_path(wanted) / "jobs").exists()


def test_what_the_run_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="iteration 9: not in the plan"):
        node(config(tmp_path), Stretch(9))


def test_another_configuration_than_the_run_s_is_refused_before_anything_starts(tmp_path: Path) -> None:
    first = config(tmp_path)
    RunDirectory.create_or_open(run_path(first), first, writer=True).close()
    (run_path(first) / "iterations" / "1" / "solver" / "work" / "step_00004").mkdir(parents=True)
    with pytest.raises(UserError, match=r"solver\.training\.steps: .* → 3"):
        node(config(tmp_path, "solver.training.steps=3"))


def logs(folder: Path, *texts: str) -> Path:
    for rank, text in enumerate(texts):
        (folder / f"rank-{rank:04d}.log").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["step 1\nrzero-mega: learner.layout.tp: no\n", "RuntimeError: peer\n"], "learner.layout.tp: no"),
        (["Traceback\n  x\ntorch.OutOfMemoryError: 80 GB\nwandb: bye\n"], "torch.OutOfMemoryError: 80 GB"),
        (["step 1\nstep 2\n"], "step 2"),
        ([], "no rank has written anything"),
    ],
)
def test_the_line_that_says_why_is_the_one_a_person_would_pick(tmp_path: Path, texts: list[str], why: str) -> None:
    assert why_of(logs(tmp_path, *texts), range(2)) == why


def test_a_node_speaks_for_its_own_ranks(tmp_path: Path) -> None:
    assert why_of(logs(tmp_path, "RuntimeError: peer\n", "torch.OutOfMemoryError: 80 GB\n"), range(1, 2)) == (
        "torch.OutOfMemoryError: 80 GB"
    )


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", True),
        ("NVRM: GPU at PCI:0000:18:00: GPU has fallen off the bus.", True),
        ("torch.OutOfMemoryError: CUDA out of memory", False),
        ("ValueError: NaN", False),
    ],
)
def test_broken_hardware_is_told_from_broken_programs(line: str, broken: bool) -> None:
    assert bool(HARDWARE.search(line)) == broken
