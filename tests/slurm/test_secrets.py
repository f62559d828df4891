"""A key that jobs are given is in their environment, and nowhere that anybody could read."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from rzero_mega.atomic import is_leftover
from tests.processes import ranks_of
from tests.slurm.submission import NANO, Experiment
from tests.slurm.virtual_cluster import VirtualCluster

pytestmark = pytest.mark.slurm

KEY = "0123456789abcdef" * 2 + "cafebabe"
SERVERS_KEY = "a-key-that-servers-ask-for"


@pytest.fixture
def experiment(cluster: VirtualCluster, tmp_path: Path) -> Experiment:
    cluster.reset()
    secrets = tmp_path / "secrets"
    secrets.write_text(f"WANDB_API_KEY={KEY}\nWANDB_MODE=offline\nRZERO_SGLANG_API_KEY='{SERVERS_KEY}'\n")
    secrets.chmod(0o600)
    short = ("iterations=1", "ablation=untrained_challenger", "solver.training.steps=2")
    folder = tmp_path / "shared"
    folder.mkdir()
    return Experiment(cluster, folder, (*NANO, *short), more=f"secrets_file: {secrets}\n")


def command_lines() -> list[str]:
    return [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]


def test_keys_reach_the_ranks_and_nothing_that_can_be_read(experiment: Experiment) -> None:
    experiment.submit()
    experiment.job_in(1, "solver", at_step=1)
    (rank,) = ranks_of(str(experiment.run / "jobs" / "config.yaml"))
    environment = rank.environ()
    assert environment["WANDB_API_KEY"] == KEY
    assert environment["RZERO_SGLANG_API_KEY"] == SERVERS_KEY
    lines = command_lines()
    assert not [line for line in lines if KEY in line or SERVERS_KEY in line]
    shown = experiment.cluster.run(["scontrol", "-o", "show", "job"])
    assert KEY not in shown and SERVERS_KEY not in shown
    experiment.wait(lambda: experiment.is_finished(1, "evaluate"))

    # The report is still being written.
    files = [path for path in experiment.folder.rglob("*") if path.is_file() and not is_leftover(path)]
    assert len(files) > 50
    telling = [path for path in files if KEY.encode() in (data := path.read_bytes()) or SERVERS_KEY.encode() in data]
    assert telling == []
