"""What the processes of a run told, with times: RUN/logs/rank-0003.log, added to by every start outside of jobs."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rzero_mega.atomic import storage_errors
from rzero_mega.errors import UserError
from rzero_mega.run.launch import log_of

LOGS = "logs"


def with_times(line: str) -> logging.Formatter:
    """A line of a log after the time of day in UTC, to the second."""
    formatter = logging.Formatter(f"%(asctime)s {line}", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    return formatter


class RunLogHandler(logging.FileHandler):
    """Writes records with the time of day in UTC. A log that can't be written, on a full disk, ends nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="replace")
        self.setFormatter(with_times("%(levelname)s %(message)s"))

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: the run goes on."""

    def tell(self, level: int, text: str) -> None:
        """Write a line that goes nowhere else."""
        self.handle(logging.LogRecord(__name__, level, "", 0, text, None, None))


@contextmanager
def run_log(run: Path, rank: int) -> Iterator[None]:
    """Write what the package's loggers tell, and what ends this process, to the rank's log until the block ends."""
    path = log_of(run / LOGS, rank)
    with storage_errors(path):
        path.parent.mkdir(exist_ok=True)
        handler = RunLogHandler(path)
    logger = logging.getLogger("rzero_mega")
    logger.addHandler(handler)
    handler.tell(logging.INFO, f"started as process {os.getpid()}")
    try:
        yield
        handler.tell(logging.INFO, "ended")
    except UserError as error:
        handler.tell(logging.ERROR, " ".join(str(error).split()) or "ended with an error of another rank")
        raise
    except KeyboardInterrupt:
        handler.tell(logging.ERROR, "interrupted")
        raise
    except BaseException as error:
        handler.tell(logging.ERROR, "".join(traceback.format_exception(error)).rstrip())
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()
