"""Local mode: the phases that a run still needs as processes on this machine, one after the other. No scheduler."""

from __future__ import annotations

import logging
import subprocess

from rzero_mega.atomic import write_text
from rzero_mega.cluster.script import Submission
from rzero_mega.cluster.submit import prepare, unfinished
from rzero_mega.config import Config, to_yaml
from rzero_mega.lifetime import module_command

_log = logging.getLogger(__name__)


def run_locally(config: Config, submission: Submission, attempts: int) -> int:
    """Do what jobs would do, as the same commands in the same order; returns the exit code of what did not succeed."""
    run = prepare(config, submission)
    write_text(submission.config, to_yaml(config))
    for phase in unfinished(config, run):
        folder = run.phase(phase.iteration, phase.name)
        for attempt in range(1, attempts + 1):
            command = ["node", "--local", str(submission.config), str(phase.iteration), phase.name]
            code = subprocess.run(module_command("rzero_mega", *command)).returncode
            if folder.manifest() is not None:
                break
            if code in (2, 130) or attempt == attempts:
                return code or 1
            _log.info("iteration %d · %s · ended with code %d; going on with it", phase.iteration, phase.name, code)
    return 0
