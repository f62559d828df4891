"""Finding a job's ranks among the processes of this machine."""

from __future__ import annotations

import psutil


def ranks_of(config: str) -> list[psutil.Process]:
    """The processes of the learner that were started on this file of a run's configuration."""
    commands = [(process, process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [process for process, command in commands if config in command and "phase" in command]
