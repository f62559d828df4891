"""The scripts that a cluster gets for the recipes and for a grid's cell, word for word."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import ROOT
from tests.slurm.submission import login_node

pytestmark = pytest.mark.slurm

GOLDEN = Path(__file__).parent / "golden"
CELL = ["grid", "tests/slurm/grid.yaml", "--arm=no_filter", "--seed=1"]
COMMANDS = {
    "qwen3_8b": ["submit", "qwen3_8b"],
    "qwen3_8b_phase": ["submit", "qwen3_8b", "--job-per=phase"],
    "qwen3_32b": ["submit", "qwen3_32b"],
    "grid": CELL,
}
NODES = {"qwen3_8b": 1, "qwen3_8b_phase": 1, "qwen3_32b": 4, "grid": 1}


@pytest.fixture(scope="module", params=COMMANDS)
def recipe(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def scripts(recipe: str) -> str:
    """The scripts of the first iteration, or of its first phase, out of a dry run with a cluster file of slurm/."""
    command = [str(login_node()), "-m", "rzero_mega", *COMMANDS[recipe], "--dry-run", "--cluster=slurm/pyxis.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = ("1-challenger", "1-questions") if "phase" in recipe else ("1-iteration", "2-iteration")
    start = done.stdout.index(f"# ---- {first}-1: batch script")
    end = done.stdout.index(f"# ---- {second}-1")
    # NeMo-Run names an experiment by the time.
    return re.sub(r"(seed\d)_\d{19}", r"\1_EXPERIMENT", done.stdout[start:end]).strip() + "\n"


def test_the_scripts_are_those_that_were_looked_at(recipe: str, scripts: str) -> None:
    golden = GOLDEN / f"{recipe}.sh"
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(scripts)
    assert scripts == golden.read_text(), "look at the difference, then write it with WRITE_GOLDEN=1"


def test_they_ask_for_the_recipes_nodes(recipe: str, scripts: str) -> None:
    assert f"#SBATCH --nodes={NODES[recipe]}\n" in scripts
    assert "#SBATCH --gpus-per-node=8\n" in scripts
    assert "#SBATCH --signal=USR1@900\n" in scripts


def test_every_path_in_them_is_one_of_the_cluster_file(scripts: str) -> None:
    given = ("/lustre/my_account/", "/nemo_run", "/bin/bash", "/usr/bin/bash", "/dev/")
    paths = set(re.findall(r"(?<![\w$}.\])])/[A-Za-z][\w./-]*", scripts))
    assert {path for path in paths if not path.startswith(given)} == set()


def test_they_end_nothing_by_name_and_stop_at_the_first_error(scripts: str) -> None:
    assert "pkill" not in scripts and "killall" not in scripts
    assert scripts.count("set -euo pipefail") == 2


def test_bash_can_read_them(scripts: str, tmp_path: Path) -> None:
    file = tmp_path / "script.sh"
    file.write_text(scripts)
    subprocess.run(["bash", "-n", str(file)], check=True)


SET = {"A": "a b'c\"d; touch pwned", "B": "#*!~ \\ (x) {y} [z] <w> | & ", "C": "010", "D": "off", "E_F": "-e"}


def test_bash_runs_them_with_every_value_as_it_was_typed(tmp_path: Path) -> None:
    cluster = {
        "account": "0123",
        "root": str(tmp_path / "r@1=2+3-é"),
        "constraint": "(a&b)|[c*2]",
        "exclude": "n[1-2],n9",
        "container_image": "docker://x.y#a/b:c",
        "env": SET,
    }
    file, bin_, work = tmp_path / "cluster.yaml", tmp_path / "bin", tmp_path / "work"
    file.write_text(yaml.safe_dump(cluster))
    for folder in (bin_, work):
        folder.mkdir()
    for name, line in {
        "srun": 'printf "%s\\0" "$@" > "$LOG.srun"; env -0 > "$LOG.env"; false',
        "scontrol": "true",
        "squeue": "true",
    }.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{line}\n")
        (bin_ / name).chmod(0o755)
    command = [str(login_node()), "-m", "rzero_mega", "submit", "qwen3_8b", "--dry-run", f"--cluster={file}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first = done.stdout.partition("# ---- 1-iteration-1: batch script\n")[2]
    script = first.partition("# ---- 1-iteration-1: step")[0]
    assert "#SBATCH --constraint='(a&b)|[c*2]'\n" in script and "#SBATCH --account=0123\n" in script
    environment = {"PATH": f"{bin_}:{os.environ['PATH']}", "LOG": str(tmp_path / "log"), "SLURM_JOB_ID": "1"}
    subprocess.run(["bash", "-c", script], cwd=work, env=environment, capture_output=True, text=True)
    given = (tmp_path / "log.srun").read_text().split("\0")
    assert given[given.index("--container-image") + 1] == "docker://x.y#a/b:c"
    assert given[given.index("--container-mounts") + 1].startswith(f"{cluster['root']}:{cluster['root']},")
    found = dict(entry.split("=", 1) for entry in (tmp_path / "log.env").read_text().split("\0") if entry)
    assert {name: found[name] for name in SET} == SET
    assert list(work.iterdir()) == []
