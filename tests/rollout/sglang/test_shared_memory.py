from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rzero_mega.rollout.sglang.server.shared_memory import SHARED_MEMORY, shared_files

# Makes a file in shared memory, maps it or holds it open, says so, and waits for its end.
HOLDER = """
import mmap, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(descriptor, 4096)
if sys.argv[2] == "mapped":
    memory = mmap.mmap(descriptor, 4096)
    os.close(descriptor)
print("held", flush=True)
sys.stdin.read()
"""


def files_of_holder(name: str, how: str) -> tuple[set[Path], Path]:
    path = SHARED_MEMORY / name
    command = [sys.executable, "-c", HOLDER, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == b"held\n"
            return shared_files(holder.pid), path
        finally:
            holder.stdin.close()
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("how", ["mapped", "open"])
@pytest.mark.parametrize("prefix", ["sem.mp-", "sglang_loads_", "sgl_shm_mq_", "psm_"])
def test_files_that_servers_make_are_found(prefix: str, how: str) -> None:
    found, path = files_of_holder(f"{prefix}rzero-test-{os.getpid()}", how)
    assert found == {path}


@pytest.mark.parametrize("prefix", ["nccl-", "torch_1_", "other"])
def test_files_of_others_that_a_server_uses_are_left_out(prefix: str) -> None:
    found, _ = files_of_holder(f"{prefix}rzero-test-{os.getpid()}", "mapped")
    assert found == set()


SEMAPHORE = """
import multiprocessing, sys
semaphore = multiprocessing.get_context("spawn").Semaphore()
print(semaphore._semlock.name, flush=True)
sys.stdin.read()
"""


def test_a_semaphore_is_found_though_it_is_mapped_under_another_name() -> None:
    with subprocess.Popen([sys.executable, "-c", SEMAPHORE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        name = holder.stdout.readline().decode().strip().removeprefix("/")
        try:
            assert shared_files(holder.pid) == {SHARED_MEMORY / f"sem.{name}"}
        finally:
            holder.stdin.close()


def test_a_process_that_is_gone_has_no_files() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert shared_files(gone.pid) == set()
