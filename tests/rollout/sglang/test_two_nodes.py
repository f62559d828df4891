"""Real servers on a second node, which is another process of this machine."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from rzero_mega.config.placement import Placement, ServerPlace
from rzero_mega.config.schema import RolloutConfig, SamplingConfig, SglangConfig, WeightsConfig
from rzero_mega.rollout.protocol import Request
from rzero_mega.rollout.sglang.nodes.job_files import JobNode
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.rollout.sglang.server.address import Address, read_address
from tests import ROOT
from tests.rollout.contract import ModelFolder, largest_logprob_error, prompt, source_of, weights_of

pytestmark = [pytest.mark.sglang, pytest.mark.slow]

KEY = "a key of the job"


@pytest.fixture
def second_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    if importlib.util.find_spec("sglang") is None:
        pytest.skip("SGLang is not installed: make sglang-cpu")
    monkeypatch.setenv("RZERO_SGLANG_API_KEY", KEY)
    command = [sys.executable, "-m", "tests.rollout.sglang.host_program", str(tmp_path), "1"]
    host = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield host
    finally:
        host.kill()
        host.communicate()


def address(folder: Path, name: str) -> Address:
    found = read_address(folder / "node0001" / f"{name}.address.json")
    assert found is not None
    return found


def lives(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and not been waited for does not."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def many(samples: int) -> list[Request]:
    return [Request(f"r{i}", prompt(4, i), 1, SamplingConfig(max_new_tokens=8)) for i in range(samples)]


def test_a_server_on_another_node_speaks_is_updated_is_replaced_and_ends_with_its_host(
    second_node: subprocess.Popen[str], model_folder: ModelFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = SglangConfig(max_total_tokens=20_000, start_timeout_s=300.0, host="0.0.0.0")
    server_pool = ServerPool(
        RolloutConfig(engine="sglang", dtype="float32", sglang=config),
        WeightsConfig(bucket_mb=1),
        Placement(2, (range(1), range(0)), (ServerPlace(1, 0),), shared_gpus=False),
        JobNode(tmp_path, 0),
        tmp_path / "logs",
    )
    try:
        folder, other = model_folder("qwen3"), model_folder("qwen3", seed=1)
        engine = server_pool.engine("solver", folder)
        assert largest_logprob_error(folder, engine.generate(many(8))) <= 1e-5
        engine.update_weights(source_of(weights_of(other)), version=1)
        assert largest_logprob_error(other, engine.generate(many(8))) <= 1e-5
        assert any("weights go by collective" in line for line in caplog.messages)

        first = address(tmp_path, "solver-0-a1")
        assert first.state == "ready" and first.pid is not None
        assert psutil.Process(first.pid).ppid() == second_node.pid
        os.kill(first.pid, signal.SIGKILL)
        assert largest_logprob_error(other, engine.generate(many(8))) <= 1e-5
        assert any("solver replica 0" in line and "starting another" in line for line in caplog.messages)
        assert address(tmp_path, "solver-0-a1").state == "ended"

        second = address(tmp_path, "solver-0-a2")
        assert second.state == "ready" and second.pid is not None
        processes = psutil.Process(second_node.pid).children(recursive=True)
        assert second.pid in {process.pid for process in processes}
        out, _ = second_node.communicate(timeout=60)
        assert second_node.returncode == 0
        assert address(tmp_path, "solver-0-a2").reason == "was told to end"
        assert not [process for process in processes if lives(process)]
        assert "solver-0-a1 is ready at" in out and "solver-0-a2 is ready at" in out
        assert KEY not in "".join(file.read_text(errors="replace") for file in (tmp_path / "node0001").iterdir())
    finally:
        server_pool.close()
