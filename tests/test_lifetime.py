from __future__ import annotations

import os
import signal
import subprocess
import sys

from rzero_mega.lifetime import PARENT

CHILD = """
import os, sys
from rzero_mega.lifetime import PARENT, die_with_parent
die_with_parent()
print(os.environ[PARENT], os.getpid(), flush=True)
sys.stdin.read()
"""


def child(parent: int) -> tuple[int, list[str]]:
    environment = {**os.environ, PARENT: str(parent)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    return done.returncode, done.stdout.split()


def test_a_process_whose_parent_lives_goes_on_and_is_the_parent_of_those_that_it_starts() -> None:
    code, (told, pid) = child(os.getpid())
    assert code == 0
    assert told == pid


def test_a_process_whose_parent_died_before_it_could_ask_dies() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert child(gone.pid) == (-signal.SIGKILL, [])


def test_a_process_dies_when_its_parent_does() -> None:
    survivor = """
import sys, time
from rzero_mega.lifetime import die_with_parent
die_with_parent()
print("ready", flush=True)
time.sleep(5)
print("survived", file=sys.stderr)
"""
    program = f"""
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {survivor!r}], stdout=subprocess.PIPE)
assert child.stdout.readline() == b"ready\\n"
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {name: value for name, value in os.environ.items() if name != PARENT}
    # The child has this pipe too, so that it ends with the last of both.
    done = subprocess.run([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
