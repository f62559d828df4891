"""Local mode: what a run still needs as processes on this machine, one after the other. No scheduler."""

from __future__ import annotations

import logging
import subprocess

from rzero_mega.atomic import write_text
from rzero_mega.cluster.script import Submission
from rzero_mega.cluster.submit import prepare, unfinished
from rzero_mega.coevolution.stretch import stretches
from rzero_mega.config import Config, to_yaml
from rzero_mega.lifetime import module_command

_log = logging.getLogger(__name__)


def run_locally(config: Config, submission: Submission, job_per: str, attempts: int) -> int:
    """Do what jobs would do, as the same commands in the same order; returns the exit code of what did not succeed."""
    run = prepare(config, submission)
    write_text(submission.config, to_yaml(config))
    for stretch, phases in stretches(unfinished(config, run), job_per):
        folders = [run.phase(phase.iteration, phase.name) for phase in phases]
        for attempt in range(1, attempts + 1):
            command = ["node", "--local", str(submission.config), *stretch.words]
            code = subprocess.run(module_command("rzero_mega", *command)).returncode
            if all(folder.manifest() is not None for folder in folders):
                break
            if code in (2, 130) or attempt == attempts:
                return code or 1
            _log.info("%s · ended with code %d; going on with it", stretch, code)
    return 0
