"""What a site writes down, and what is refused before anything is submitted."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rzero_mega.cluster.cluster_file import read_cluster_file, seconds_of
from rzero_mega.config.schema import LearnerConfig
from rzero_mega.errors import UserError
from tests import ROOT


def written(folder: Path, **keys: object) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump({"account": "a", "root": "/shared/me", **keys}))
    return path


@pytest.mark.parametrize("example", sorted((ROOT / "slurm").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_cluster_files(example: Path) -> None:
    cluster = read_cluster_file(example)
    assert cluster.gpus_per_node == 8
    assert any(name.startswith("NCCL_") for name in cluster.env)
    # A job outlives every limit by which a hang is found, the last of which is that of a collective.
    assert seconds_of(cluster.wall_time) > LearnerConfig().collective_timeout_s


def test_folders_lie_below_the_root(tmp_path: Path) -> None:
    cluster = read_cluster_file(written(tmp_path))
    assert (cluster.runs, cluster.nemo_run_home) == (Path("/shared/me/runs"), Path("/shared/me/nemo"))


@pytest.mark.parametrize(
    ("keys", "jobs"),
    [
        ({}, ("04:00:00", 8)),
        ({"iteration_wall_time": "12:00:00", "jobs_per_iteration": 2}, ("12:00:00", 2)),
        ({"job_per": "phase"}, ("04:00:00", 4)),
        ({"job_per": "phase", "iteration_wall_time": "12:00:00", "jobs_per_phase": 3}, ("04:00:00", 3)),
    ],
)
def test_jobs_of_iterations_have_limits_of_their_own(
    tmp_path: Path, keys: dict[str, object], jobs: tuple[str, int]
) -> None:
    cluster = read_cluster_file(written(tmp_path, **keys))
    assert (cluster.job_wall_time, cluster.links) == jobs


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"acount": "a"}, "acount: no such key"),
        ({"account": ""}, "account: needed"),
        ({"root": "relative"}, "root"),
        ({"root": "/shared/nemo_run"}, "/nemo_run"),
        ({"wall_time": "4h"}, "wall_time"),
        ({"wall_time": "00:05:00", "grace_s": 600}, "grace_s"),
        ({"jobs_per_phase": 0}, "jobs_per_phase"),
        ({"job_per": "run"}, "job_per"),
        ({"iteration_wall_time": "1 day"}, "iteration_wall_time: '1 day' is not"),
        ({"iteration_wall_time": "00:05:00"}, "grace_s: 600 is not shorter than iteration_wall_time"),
        ({"gpus_per_node": -1}, "gpus_per_node"),
        ({"env": {"nccl_debug": "WARN"}}, "env.nccl_debug"),
        ({"env": {"WANDB_API_KEY": "x"}}, "env.WANDB_API_KEY"),
        ({"env": {"HF_TOKEN": "x"}}, "env.HF_TOKEN"),
        ({"mounts": ["/models"]}, "mounts"),
        ({"partition": "batch\n#SBATCH --uid=0"}, "partition"),
        ({"secrets_file": "/no/such/file"}, "secrets_file"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_key(tmp_path: Path, keys: dict[str, object], named: str) -> None:
    path = written(tmp_path, **keys)
    with pytest.raises(UserError) as caught:
        read_cluster_file(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.yaml"):
        read_cluster_file(tmp_path / "nothing.yaml")


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("WANDB_API_KEY=x\n")
    secrets.chmod(0o644)
    path = written(tmp_path, secrets_file=str(secrets))
    with pytest.raises(UserError, match="chmod 600"):
        read_cluster_file(path)
    secrets.chmod(0o600)
    assert read_cluster_file(path).secrets_file == str(secrets)


@pytest.mark.parametrize(("text", "seconds"), [("00:00:30", 30), ("04:00:00", 14400), ("2-01:00:00", 176400)])
def test_a_wall_time_has_seconds(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds
