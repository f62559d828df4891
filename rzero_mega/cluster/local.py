"""Local mode: the phases that a run still needs as processes on this machine, one after the other. No scheduler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from rzero_mega.atomic import write_text
from rzero_mega.cluster.script import Submission
from rzero_mega.cluster.submit import prepare, unfinished
from rzero_mega.config import Config, to_yaml


def run_locally(config: Config, submission: Submission, attempts: int, say: Callable[[str], None]) -> int:
    """Do what jobs would do, as the same commands in the same order; returns the exit code of what did not succeed."""
    run = prepare(config, submission)
    write_text(submission.config, to_yaml(config))
    for phase in unfinished(config, run):
        folder = run.phase(phase.iteration, phase.name)
        for attempt in range(1, attempts + 1):
            command = ["-m", "rzero_mega", "node", str(submission.config), str(phase.iteration), phase.name]
            code = subprocess.run([sys.executable, *command]).returncode
            if folder.manifest() is not None:
                break
            if code in (2, 130) or attempt == attempts:
                return code or 1
            say(f"iteration {phase.iteration} · {phase.name} · ended with code {code}; going on with it")
    return 0
