"""The environment of a login node, tools/slurm-submit.txt: `submit`, `status`, `compare` run in it, without torch."""

from __future__ import annotations

import json
import subprocess
import sys

from tests import ROOT

# What a login node's commands import, `submit` before it hands a job to NeMo-Run, and whose distributions these are.
CODE = """
import importlib.metadata, json, sys
import rzero_mega.cli, rzero_mega.cluster.command, rzero_mega.cluster.submit
import rzero_mega.commands.compare, rzero_mega.commands.status
from rzero_mega.recipes import load_recipe
load_recipe("nano")
of = importlib.metadata.packages_distributions()
tops = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted({dist.lower().replace("_", "-") for top in tops for dist in of.get(top, [])})))
"""


def test_submission_imports_nothing_that_its_environment_lacks() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = (ROOT / "tools" / "slurm-submit.txt").read_text().splitlines()
    there = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert {"typer", "pyyaml", "psutil", "scipy"} <= set(json.loads(done.stdout))
    assert set(json.loads(done.stdout)) - there <= {"rzero-mega", "setuptools"}
