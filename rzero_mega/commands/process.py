"""How a process of the command ends, whatever ends it, and what it prints on the way."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from rzero_mega.atomic import storage_failure
from rzero_mega.errors import UserError
from rzero_mega.lifetime import die_with_parent
from rzero_mega.run.launch import is_rank
from rzero_mega.run.stop import EXIT_CODE as STOPPED_EXIT_CODE
from rzero_mega.run.stop import Stopped, hold_requests

INTERRUPTED_EXIT_CODE = 130
"""128 + SIGINT, as shells have it."""


def run_process(app: Callable[[], None]) -> None:
    """Call `app`. A UserError, or a file system that refuses, is one line and exit code 2.

    An interruption is 130, a request to stop 75.
    """
    if is_rank():
        die_with_parent()
    quiet_libraries()
    show_log()
    hold_requests()
    interruption = Interruption()
    try:
        app()
    except UserError as error:
        _tell(error)
        leave(2)
    except Stopped as stopped:
        if str(stopped):
            print(f"rzero-mega: {stopped}", file=sys.stderr)
        leave(STOPPED_EXIT_CODE)
    except BaseException as error:
        if not interruption.came:
            failure = storage_failure(error) if isinstance(error, OSError) else None
            if failure is None:
                raise
            _tell(failure)
            leave(2)
        if not is_rank():
            print("rzero-mega: interrupted; the same command goes on from here", file=sys.stderr)
        leave(INTERRUPTED_EXIT_CODE)


def _tell(error: UserError) -> None:
    """Print the line, unless another rank does."""
    if type(error) is UserError:
        print(f"rzero-mega: {' '.join(str(error).split())}", file=sys.stderr)


class Interruption:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, so that locks, workers and W&B are closed on the way out.

    What arrives at the top may be another error that the interruption caused, in this rank or in a peer: `came` tells.
    A second one leaves at once: a rank gets SIGTERM from its launcher while it handles the terminal's Ctrl-C, at any
    instruction and so outside every handler too. Only a launcher's second SIGTERM is nothing new: Slurm sends several,
    and its ranks are to be ended first.
    """

    def __init__(self) -> None:
        self.came = False
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if not self.came:
            self.came = True
            raise KeyboardInterrupt
        if is_rank() or number == signal.SIGINT:
            os._exit(INTERRUPTED_EXIT_CODE)


def leave(code: int) -> NoReturn:
    """End this process with the code, without any destructor."""
    # Peers may wait in a collective: a destructor that waits for them in turn would never return.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def quiet_libraries() -> None:
    """Megatron-core, transformers and others warn at import of what is missing or deprecated in them."""
    warnings.filterwarnings("ignore", module=r"(megatron|transformers|torch)\b.*")
    logging.getLogger("megatron").setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


class _Lines(logging.Handler):
    """Prints records as they are: on standard output, from a warning up on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout, flush=True)


def show_log() -> None:
    """Print what the package's loggers tell, and nothing of it twice: libraries may have handlers at the root."""
    logger = logging.getLogger("rzero_mega")
    logger.handlers = [_Lines()]
    logger.setLevel(logging.INFO)
    logger.propagate = False
