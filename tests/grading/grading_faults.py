"""What goes wrong in workers, made to happen. The first answer of a pair says which."""

from __future__ import annotations

import os
import signal
import sys
import time

FORBIDDEN = ("torch", "transformers", "megatron", "sglang")
leaked: list[bytes] = []


def compute(seconds: float) -> None:
    """Have so many seconds of a processor."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def misbehave(a: str, b: str) -> bool:
    """Do what `a` says; `b` is where to leave word where that is needed."""
    match a:
        case "sleep":
            time.sleep(3600)
        case "spin":
            while True:
                pass
        case "compute":
            compute(float(b))
            return True
        case "spin in C":
            pow(3, 10**9)
        case "ignore signals":
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
                signal.signal(number, signal.SIG_IGN)
            while True:
                time.sleep(1)
        case "allocate":
            hoard = []
            while True:
                hoard.append(bytes(2**24))  # untouched, so quick on a busy machine; address space is limited
        case "leak":
            leaked.append(bytes(2**24))
            return True
        case "compute, then exit":
            compute(float(b))
            os._exit(3)
        case "exit":
            os._exit(3)
        case "abort":
            os.abort()
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise OSError("a bug")
        case "recurse":
            return misbehave(a, b)
        case "killed once":
            try:
                os.close(os.open(b, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return True
            os.kill(os.getpid(), signal.SIGKILL)
        case "report":
            with open(b, "a") as file:
                file.write(f"{os.getpid()}\n")
            return True
        case "report and sleep":
            with open(b, "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(3600)
        case "heavy modules":
            return any(name in sys.modules for name in FORBIDDEN)
    return a == b


def by_answer(a: str, b: str) -> bool:
    """Misbehave on the three pairs of `test_grading_pool`, call all others equal."""
    pair = a + b
    fault = {"3": "sleep", "5": "allocate", "7": "exit"}
    for digit, name in fault.items():
        if f"sqrt{{{digit}}}" in pair:
            misbehave(name, "")
    return True
