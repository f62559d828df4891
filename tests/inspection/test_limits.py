"""Work in a bounded process: what is said of it however it ends, and that nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from rzero_mega.errors import UserError
from rzero_mega.inspection.limits import Say, within_limits


def dies(say: Say) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leaves(say: Say) -> None:
    os._exit(0)


def hogs(say: Say) -> None:
    bytearray(1 << 34)


def panics(say: Say) -> None:
    class Panic(BaseException):
        pass

    raise Panic("index out of\nbounds")


def refuses(say: Say) -> None:
    raise UserError("file: wrong")


def says_much(say: Say) -> None:
    raise ValueError("x" * 10_000_000)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (dies, "the file: whatever reads it dies of it"),
        (leaves, "the file: whatever reads it dies of it"),
        (hogs, "the file: takes more than 64 MB of memory"),
        (panics, "the file: not readable: index out of$"),
        (refuses, "^file: wrong$"),
        (says_much, "the file: not readable: x+$"),
    ],
)
def test_every_end_is_one_line(work: Callable[[Say], None], words: str) -> None:
    def at_the_file(say: Say) -> None:
        say("the file")
        work(say)

    before = psutil.Process().children()
    with pytest.raises(UserError, match=words) as caught:
        within_limits(at_the_file, seconds=60.0, memory_mb=64)
    assert len(str(caught.value)) < 2500
    assert set(psutil.Process().children()) <= set(before)


def test_what_takes_too_long_is_ended() -> None:
    def work(say: Say) -> None:
        say("the file")
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        time.sleep(1000)

    with pytest.raises(UserError, match=r"the file: takes longer than 0.5 s"):
        within_limits(work, seconds=0.5, memory_mb=64)


def test_work_that_succeeds_says_nothing_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    within_limits(lambda say: os.write(1, b"noise") + os.write(2, b"noise"), seconds=60.0, memory_mb=64)
    assert capfd.readouterr() == ("", "")
