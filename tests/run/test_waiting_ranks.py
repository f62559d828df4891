"""What two ranks make of each other's work, standstill and death, over gloo, however they were started."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from rzero_mega.run.heartbeat import HANG_EXIT_CODE
from rzero_mega.run.launch import PEER_LOST_EXIT_CODE, meeting_in
from tests import ROOT
from tests.run.waiting_ranks import COLLECTIVE_TIMEOUT_S, HANG_TIMEOUT_S

pytestmark = pytest.mark.gloo


def free_port() -> int:
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


Ranks = list[subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str, bool], Ranks]]:
    """Starts the two ranks of a case, which are killed at the end, for one is stopped or hangs.

    They meet through a file, as `launch` has it, or over TCP, as torchrun and jobs on several nodes have it.
    """
    os.mkfifo(tmp_path / "pipe")
    with ExitStack() as stack:

        def start(case: str, over_tcp: bool) -> Ranks:
            meeting = meeting_in(tmp_path)
            if over_tcp:
                meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "GLOO_SOCKET_IFNAME": "lo"}
            places = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"} for rank in range(2)]
            ranks = [
                subprocess.Popen(
                    [sys.executable, "-m", "tests.run.waiting_ranks", case, str(tmp_path)],
                    cwd=ROOT,
                    env={**os.environ, **meeting, **place, "OMP_NUM_THREADS": "1"},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                for place in places
            ]
            for rank in ranks:
                stack.callback(rank.communicate)
            for rank in ranks:
                stack.callback(rank.kill)
            return ranks

        yield start


def test_work_of_rank_0_may_take_longer_than_a_collective_and_than_a_hang(start: Callable[[str, bool], Ranks]) -> None:
    assert COLLECTIVE_TIMEOUT_S > HANG_TIMEOUT_S
    ranks = start("alone", False)
    assert [rank.communicate(timeout=300) for rank in ranks] == [("done\n", "")] * 2
    assert [rank.returncode for rank in ranks] == [0, 0]


@pytest.mark.parametrize(
    ("case", "over_tcp", "code", "message"),
    [
        (
            "stopped",
            True,
            HANG_EXIT_CODE,
            r"rzero-mega: rank 1 was stopped by a signal and did not go on for 2 s \(learner.hang_timeout_s\); ",
        ),
        (
            "hangs",
            True,
            HANG_EXIT_CODE,
            r"rzero-mega: rank 1 \(process {pid} on .+\) has not moved .* atomic\.py",
        ),
        ("late", False, HANG_EXIT_CODE, r"rzero-mega: rank 0 waited for others in a collective longer than learner\."),
        ("killed", True, PEER_LOST_EXIT_CODE, r"$"),
    ],
)
def test_a_rank_that_no_longer_comes_is_named_by_the_other(
    case: str, over_tcp: bool, code: int, message: str, start: Callable[[str, bool], Ranks]
) -> None:
    first, other = start(case, over_tcp)
    _, err = first.communicate(timeout=300)
    assert first.returncode == code
    assert re.match(message.format(pid=other.pid), err)
    assert len(err.splitlines()) <= 1 or case == "late"
