"""Work that takes the learner's processes: checked once where it was asked for, then done in each of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from rzero_mega.commands.checks import check_start
from rzero_mega.commands.process import leave
from rzero_mega.config import Config
from rzero_mega.run.launch import check_rank, checks_first, is_rank, launch
from rzero_mega.run.stop import StopRequest
from rzero_mega.terminal import say


def start(config: Config, work: Callable[[StopRequest], None]) -> None:
    """Check what can be checked, then do `work` here, or in as many processes as the learner wants."""
    check_rank(os.environ)
    if checks_first():
        check_start(config)
        # What it imports takes seconds, which whoever made a mistake need not wait for.
        from rzero_mega.commands.preflight import preflight

        preflight(config)
    spread(config, work)


def spread(config: Config, work: Callable[[StopRequest], None]) -> None:
    """Do `work` here, or have this process's own command run in as many processes as the learner wants.

    Ends this process with the code of the first of them that failed.
    """
    stop = StopRequest()
    if is_rank() or config.learner.processes == 1:
        work(stop)
        return
    death = launch(sys.argv[1:], config.learner.processes, stop, config.learner.hang_timeout_s)
    if death is not None:
        if death.why():
            say(f"rzero-mega: {death.why()}; the same command goes on from here", error=True)
        leave(death.exit_code)
