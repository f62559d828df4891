"""How a process of the command ends, whatever ends it, and what it prints on the way."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from rzero_mega.atomic import storage_failure
from rzero_mega.errors import UserError
from rzero_mega.lifetime import PARENT, die_with_parent
from rzero_mega.open_files import allow_many_open_files
from rzero_mega.rollout.sglang.nodes.job_files import JOB
from rzero_mega.run.heartbeat import HANG_EXIT_CODE
from rzero_mega.run.launch import PEER_LOST_EXIT_CODE, is_rank
from rzero_mega.run.stop import EXIT_CODE as STOPPED_EXIT_CODE
from rzero_mega.run.stop import Stopped, hold_requests
from rzero_mega.terminal import in_one_line, prepare_streams, say

INTERRUPTED_EXIT_CODE = 130
"""128 + SIGINT, as shells have it."""
# What gloo, NCCL and torch's store say when another rank is gone, and when it does not come.
_PEER_LOST = re.compile(
    r"Connection (?:closed by|reset by) peer|Broken pipe|remote process exited|NCCL communicator was aborted"
    r"|failed to (?:recv|connect)|Connection was likely closed"
)
_PEER_SILENT = re.compile(r"Timed out waiting \d+ms|Application timeout caused pair closure")


def run_process(app: Callable[[], None]) -> None:
    """Call `app`. A UserError, or a file system that refuses, is one line and exit code 2.

    An interruption is 130, a request to stop 75.
    """
    if is_rank() or PARENT in os.environ:
        die_with_parent()
    prepare_streams()
    quiet_libraries()
    show_log()
    hold_requests()
    allow_many_open_files()
    interruption = Interruption()
    try:
        app()
    except UserError as error:
        _tell(error)
        leave(2)
    except Stopped as stopped:
        if str(stopped):
            say(f"rzero-mega: {in_one_line(str(stopped))}", error=True)
        leave(STOPPED_EXIT_CODE)
    except BaseException as error:
        if interruption.came:
            if not is_rank():
                say("rzero-mega: interrupted; the same command goes on from here", error=True)
            leave(INTERRUPTED_EXIT_CODE)
        if is_rank():
            _leave_without_peers(error)
        failure = storage_failure(error) if isinstance(error, OSError) else None
        if failure is None:
            raise
        _tell(failure)
        leave(2)


def _leave_without_peers(error: BaseException) -> None:
    """End a rank whose error is the loss of another one, or its silence; return if it is neither."""
    chain = [error, *(cause for cause in (error.__cause__, error.__context__) if cause is not None)]
    texts = [str(cause) for cause in chain if isinstance(cause, RuntimeError)]
    lost = next((text for text in texts if _PEER_LOST.search(text)), None)
    if lost is not None:
        if JOB in os.environ:  # the rank has a log of its own; on a terminal its launcher says who ended first
            say(f"rank {os.environ['RANK']} lost another rank: {' '.join(lost.split())}", error=True)
        leave(PEER_LOST_EXIT_CODE)
    if any(_PEER_SILENT.search(text) for text in texts):
        late = "waited for others in a collective longer than learner.collective_timeout_s"
        say(f"rzero-mega: rank {os.environ['RANK']} {late}", error=True)
        traceback.print_tb(error.__traceback__)
        leave(HANG_EXIT_CODE)


def _tell(error: UserError) -> None:
    """Print the line, unless another rank does."""
    if not error.told_elsewhere:
        say(f"rzero-mega: {in_one_line(str(error))}", error=True)


class Interruption:
    """Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt, so that locks, workers and W&B are closed on the way out.

    What arrives at the top may be another error that the interruption caused, in this rank or in a peer: `came` tells.
    A second one leaves at once: a rank gets SIGTERM from its launcher while it handles the terminal's Ctrl-C, at any
    instruction and so outside every handler too. Only a launcher's second SIGTERM or SIGHUP is nothing new: Slurm
    sends several, a closing terminal too, and its ranks are to be ended first.
    """

    def __init__(self) -> None:
        self.came = False
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup's processes outlive their terminal
            signal.signal(signal.SIGHUP, self._stop)

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
        say(self.format(record), error=record.levelno >= logging.WARNING)


def show_log() -> None:
    """Print what the package's loggers tell, and nothing of it twice: libraries may have handlers at the root."""
    logger = logging.getLogger("rzero_mega")
    logger.handlers = [_Lines()]
    logger.setLevel(logging.INFO)
    logger.propagate = False
