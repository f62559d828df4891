"""What slurm/local says where it cannot start: also where Slurm is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.slurm.virtual_cluster import LOCAL, command


def test_missing_programs_are_named_with_the_packages_that_bring_them(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:  # pytest's own is too deep for sockets
        program = [sys.executable, str(LOCAL / "cluster.py"), "up", folder]
        done = subprocess.run(program, env=os.environ | {"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("sbatch, srun: not installed; apt-get install slurmctld slurmd slurm-client munge\n")
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    done = command("up", tmp_path / ("deep" * 20))
    assert done.returncode == 2
    assert done.stderr.endswith("too long for unix sockets in it\n")
    assert len(done.stderr.splitlines()) == 1


def test_no_nodes_are_refused(tmp_path: Path) -> None:
    done = command("up", tmp_path / "c", "--nodes", "0")
    assert (done.returncode, done.stderr) == (2, "--nodes must be 1 to 250, --gpus at least 1\n")


def test_down_of_a_folder_without_a_cluster_does_nothing(tmp_path: Path) -> None:
    assert command("down", tmp_path / "none").returncode == 0
    assert list(tmp_path.iterdir()) == []
