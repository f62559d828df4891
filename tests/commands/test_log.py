"""What the command prints of log records."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging
logging.basicConfig()  # as a library may do
from rzero_mega.commands.process import show_log
show_log()
log = logging.getLogger("rzero_mega.room")
log.debug("a detail")
log.info("100 % done")
log.warning("a server ended")
"""


def test_a_record_is_a_plain_line_and_a_warning_goes_to_standard_error() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "100 % done\n", "a server ended\n")
