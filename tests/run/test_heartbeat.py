"""Ranks that watch each other: who is stopped, who hangs, and who only waits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rzero_mega import spmd
from rzero_mega.atomic import sha256
from rzero_mega.patience import Patience
from rzero_mega.run import heartbeat as module
from rzero_mega.run.heartbeat import Movement, heartbeat, is_stopped, place_of, waits_for_others
from rzero_mega.run.launch import FirstDeath
from tests.processes import eventually

LIMIT_S = 1.0


class MemoryStore:
    """A store of one process; `frozen` is one whose machine no longer answers."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.frozen = False

    def set(self, key: str, value: str) -> None:
        if self.frozen:
            raise RuntimeError("wait timeout after 1000ms\nmore")
        self.values[key] = value

    def get(self, key: str) -> bytes:
        return self.values[key].encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self.values for key in keys)

    def beat(self, rank: int, looks: int, moved: int, left: bool = False) -> None:
        beat = {"host": "n2", "pid": 4242, "looks": looks, "moved": moved, "place": "learner/x.py:7 (f)", "left": left}
        self.set(str(rank), json.dumps(beat))


@contextmanager
def peer(store: MemoryStore, looks: Callable[[int], int], moved: Callable[[int], int]) -> Iterator[list[str]]:
    """Rank 0's heartbeat beside a made-up rank 1, and what it says. The two functions number rank 1's beats."""
    said: list[str] = []
    with heartbeat(store, 0, 2, LIMIT_S, said.append):
        over = threading.Event()

        def beat() -> None:
            for number in range(10_000):
                store.beat(1, looks(number), moved(number))
                if over.wait(LIMIT_S / 20):
                    return

        thread = threading.Thread(target=beat)
        thread.start()
        yield said
        over.set()
        thread.join()


def same(number: int) -> int:
    return number


def never(_number: int) -> int:
    return 5


@pytest.mark.parametrize(
    ("looks", "moved", "message"),
    [
        (never, never, "rank 1 (process 4242 on n2) shows no sign of life since 1 s (learner.hang_timeout_s): it was "),
        (same, never, "rank 1 (process 4242 on n2) has not moved for 1 s (learner.hang_timeout_s): it hangs"),
    ],
    ids=["stopped", "hangs"],
)
def test_a_rank_that_stands_still_is_named(
    looks: Callable[[int], int], moved: Callable[[int], int], message: str
) -> None:
    with peer(MemoryStore(), looks, moved) as said:
        assert eventually(lambda: bool(said))
    assert said[0].startswith(message) and "learner/x.py:7 (f)" in said[0]


def test_a_process_of_this_machine_that_a_signal_stopped_is_told_as_its_launcher_tells_it() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 19)"])
    try:
        assert eventually(lambda: is_stopped(child.pid))
        store, said = MemoryStore(), list[str]()
        beat = {"host": socket.gethostname(), "pid": child.pid, "looks": 5, "moved": 5, "place": "x.py:7 (f)"}
        store.set("1", json.dumps(beat))
        with heartbeat(store, 0, 2, LIMIT_S, said.append):
            assert eventually(lambda: bool(said))
        assert said == [FirstDeath(1, 124, LIMIT_S).why()]
    finally:
        child.kill()
        child.wait()


def test_a_rank_that_moves_and_one_that_has_left_are_not_named() -> None:
    with peer(MemoryStore(), same, same) as said:
        time.sleep(3 * LIMIT_S)
    assert said == []
    store, late = MemoryStore(), list[str]()
    store.beat(1, 1, 1, left=True)
    with heartbeat(store, 0, 2, LIMIT_S, late.append):
        time.sleep(2 * LIMIT_S)
    assert late == []


def test_a_rank_says_at_its_end_that_it_has_left() -> None:
    store = MemoryStore()
    with heartbeat(store, 1, 2, LIMIT_S, print):
        assert not json.loads(store.values["1"])["left"]
    assert json.loads(store.values["1"])["left"]


def test_a_machine_of_the_store_that_does_not_answer_ends_the_rank() -> None:
    store, said = MemoryStore(), list[str]()
    with heartbeat(store, 0, 2, LIMIT_S, said.append):
        store.frozen = True
        assert eventually(lambda: bool(said))
        store.frozen = False
    assert said == ["the machine where the ranks meet does not answer: wait timeout after 1000ms"]


def test_a_thread_moves_while_it_computes_or_wakes_and_not_in_a_call_that_does_not_return() -> None:
    over, main = threading.Event(), threading.main_thread()
    blocked = threading.Thread(target=over.wait)
    movement = Movement()
    moved: list[bool] = []

    def look() -> None:
        for _ in range(4):
            time.sleep(0.2)
            moved.append(movement.seen(main))

    def looks_while(work: Callable[[threading.Thread], object]) -> list[bool]:
        """The looks in the middle of work that lasts as long as they do."""
        moved.clear()
        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        work(watcher)
        watcher.join()
        return moved[1:-1]

    def wakes(watcher: threading.Thread) -> None:
        while watcher.is_alive():
            over.wait(0.01)

    def computes(watcher: threading.Thread) -> None:
        while watcher.is_alive():
            pass

    blocked.start()
    try:
        assert looks_while(threading.Thread.join) == [False, False]
        assert looks_while(wakes) == [True, True]
        assert looks_while(computes) == [True, True]
    finally:
        over.set()
        blocked.join()


def test_where_the_system_does_not_tell_every_process_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_time_on_processors", lambda thread: None)
    movement = Movement()
    assert [movement.seen(threading.main_thread()) for _ in range(3)] == [True] * 3


def test_who_waits_in_a_collective_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collective is a call that stands still in torch's own files."""
    over = threading.Event()
    waiting = threading.Thread(target=over.wait)
    waiting.start()
    movement = Movement()
    try:
        assert not waits_for_others(waiting)
        monkeypatch.setattr(module, "WAITS", (threading.__file__,))
        assert waits_for_others(waiting)
        assert all(movement.seen(waiting) for _ in range(3))
    finally:
        over.set()
        waiting.join()


def test_what_rank_0_does_alone_is_no_wait_for_others(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    working = threading.Thread(target=spmd.on_rank_0, args=(sha256, pipe), daemon=True)
    working.start()
    try:
        assert eventually(lambda: place_of(working).startswith("atomic.py:"))
        assert not waits_for_others(working)
    finally:
        os.close(os.open(pipe, os.O_WRONLY))
        working.join()


@pytest.mark.parametrize(("gap_s", "over"), [(10.0, True), (0.001, False)])
def test_who_slept_meanwhile_does_not_count_the_time(gap_s: float, over: bool) -> None:
    patience = Patience(0.2, gap_s)
    time.sleep(0.3)
    assert patience.over() is over
    patience.sign()
    assert not patience.over()
