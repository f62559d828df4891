"""`rzero-mega verify`: is a run still what it wrote?"""

from __future__ import annotations

from rzero_mega.errors import UserError
from rzero_mega.run import RunDirectory
from rzero_mega.run.verify import verify_run
from rzero_mega.terminal import say


def verify_and_show(run: RunDirectory) -> str:
    """One line if all is whole; otherwise prints a line for each damage and raises UserError."""
    verdict = verify_run(run)
    if not verdict.damaged:
        return f"{run.path}: whole; {verdict.checks} checks of manifests, outputs, parts and checkpoints"
    for line in verdict.damaged:
        say(line)
    raise UserError(f"{run.path}: {len(verdict.damaged)} of {verdict.checks} checks failed; see the lines above")
