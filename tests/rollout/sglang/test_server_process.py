from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import torch

from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.server import process as process_module
from rzero_mega.rollout.sglang.server.command import ServerSpec
from rzero_mega.rollout.sglang.server.process import ServerProcess
from rzero_mega.rollout.sglang.server.shared_memory import shared_files
from rzero_mega.weights.transports.protocol import ServerError
from tests import ROOT
from tests.processes import eventually, lives
from tests.rollout.contract import CONTEXT, STOP_TOKENS, prompt, reference_model
from tests.rollout.sglang.measures import memory_bytes
from tests.second_environment import bare_environment

Serve = Callable[..., ServerProcess]
ModelFolder = Callable[..., Path]
START_S = 300.0


def files_of(server: ServerProcess) -> set[Path]:
    return {file for pid in server.pids() for file in shared_files(pid)}


@pytest.fixture
def folder(model_folder: ModelFolder) -> Path:
    return model_folder("qwen3")


@pytest.fixture
def started(sglang_server: Serve, tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers that are this test's alone, and waits for none."""
    servers: list[ServerProcess] = []

    def start(model: Path, api_key: str | None = None, **fields: object) -> ServerProcess:
        spec = ServerSpec(model, port=0, **fields)  # type: ignore[arg-type]
        servers.append(ServerProcess.start(spec, tmp_path / f"{len(servers)}.log", api_key))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


class TestWithoutAServer:
    def test_a_server_that_others_can_reach_needs_a_key(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"rollout\.sglang\.api_key_env"):
            ServerProcess.start(ServerSpec(tmp_path, port=0, host="0.0.0.0"), tmp_path / "log")
        assert not (tmp_path / "log").exists()

    def test_an_interpreter_without_sglang_is_refused_before_anything_is_written(self, tmp_path: Path) -> None:
        python = bare_environment(tmp_path / "bare")
        with pytest.raises(UserError, match="make sglang-cpu"):
            ServerProcess.start(ServerSpec(tmp_path, port=0), tmp_path / "log", python=python)
        assert not (tmp_path / "log").exists()

    def test_a_server_is_not_started_from_a_thread_that_may_end_before_it(self, tmp_path: Path) -> None:
        errors = []

        def start() -> None:
            try:
                ServerProcess.start(ServerSpec(tmp_path, port=0), tmp_path / "log").stop()
            except RuntimeError as error:
                errors.append(str(error))

        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        assert "main thread" in errors[0]

    def test_a_port_that_is_taken_is_refused_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process_module, "check_startable", lambda *_: None)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(UserError, match=rf"port {port} of 127\.0\.0\.1: .*in use"):
                ServerProcess.start(ServerSpec(tmp_path, port), tmp_path / "log")


@pytest.mark.sglang
@pytest.mark.parametrize("tp", [1, 2])
class TestServing:
    @pytest.fixture
    def server(self, sglang_server: Serve, folder: Path, tp: int) -> ServerProcess:
        return sglang_server(folder, tp, weight_version="solver-0", context_length=CONTEXT)

    def test_it_reports_its_weight_version_from_the_start(self, server: ServerProcess) -> None:
        assert server.client().ready()
        assert server.client().weight_version() == "solver-0"

    def test_greedy_tokens_and_logprobs_are_those_of_transformers(self, server: ServerProcess, folder: Path) -> None:
        tokens = list(prompt(9, 0))
        sampling = {"temperature": 0.0, "max_new_tokens": 12, "ignore_eos": True}
        body = {"input_ids": tokens, "sampling_params": sampling, "return_logprob": True}
        (sample,) = server.client().generate(body)
        with torch.no_grad():
            logits = reference_model(folder)(torch.tensor([tokens + sample["output_ids"]])).logits[0]
        logits = logits[len(tokens) - 1 : -1]
        assert sample["output_ids"] == logits.argmax(-1).tolist()
        logprobs = [triple[0] for triple in sample["meta_info"]["output_token_logprobs"]]
        torch.testing.assert_close(torch.tensor(logprobs), logits.log_softmax(-1).amax(-1), atol=1e-5, rtol=0)
        assert {span["version"] for span in sample["meta_info"]["weight_versions"]} == {"solver-0"}

    def test_prompt_and_response_may_fill_the_context(self, server: ServerProcess) -> None:
        # One more than the context: scoring a full sequence generates a token, which is dropped.
        for length, new in ((CONTEXT - 3, 3), (CONTEXT - 1, 1), (CONTEXT, 1)):
            sampling = {"max_new_tokens": new, "ignore_eos": True}
            (sample,) = server.client().generate({"input_ids": prompt(length, 0), "sampling_params": sampling})
            assert len(sample["output_ids"]) == new

    def test_a_stop_token_ends_a_sample_and_is_part_of_it(self, server: ServerProcess) -> None:
        sampling = {"max_new_tokens": 40, "n": 32, "stop_token_ids": list(STOP_TOKENS)}
        samples = server.client().generate({"input_ids": prompt(5, 0), "sampling_params": sampling})
        stopped = [s["output_ids"] for s in samples if s["meta_info"]["finish_reason"]["type"] == "stop"]
        assert stopped
        assert {tokens[-1] for tokens in stopped} <= set(STOP_TOKENS)

    def test_samples_come_prompt_by_prompt(self, server: ServerProcess) -> None:
        prompts = [list(prompt(length, length)) for length in (7, 3, 5)]
        samples = server.client().generate({"input_ids": prompts, "sampling_params": {"max_new_tokens": 2, "n": 2}})
        assert [sample["meta_info"]["prompt_tokens"] for sample in samples] == [7, 7, 3, 3, 5, 5]

    def test_checksums_are_those_of_every_rank(self, server: ServerProcess, tp: int) -> None:
        tables = server.client().checksums()
        assert len(tables) == tp
        assert all("model.norm.weight" in table for table in tables)

    def test_generating_can_be_paused_and_goes_on(self, server: ServerProcess) -> None:
        client = server.client()
        client.post("pause_generation", {"mode": "retract"})
        client.post("flush_cache", {})
        client.post("continue_generation", {})
        assert client.generate({"input_ids": [5], "sampling_params": {"max_new_tokens": 1}})

    def test_its_processes_and_their_memory_are_known(self, server: ServerProcess, tp: int) -> None:
        assert len(server.pids()) >= 1 + tp
        assert all(psutil.pid_exists(pid) for pid in server.pids())
        assert memory_bytes(server) > tp * 100_000_000

    def test_only_this_machine_can_reach_it(self, server: ServerProcess) -> None:
        connections = [c for pid in server.pids() for c in psutil.Process(pid).net_connections("tcp")]
        listening = [c.laddr for c in connections if c.status == psutil.CONN_LISTEN]
        assert {address.ip for address in listening if address.port == server.spec.port} == {"127.0.0.1"}


@pytest.mark.sglang
@pytest.mark.slow
class TestEnding:
    @pytest.fixture
    def sibling(self, sglang_server: Serve, folder: Path) -> ServerProcess:
        return sglang_server(folder, 1, weight_version="solver-0", context_length=CONTEXT)

    def test_a_stopped_server_leaves_nothing_and_its_sibling_everything(
        self, started: Serve, sibling: ServerProcess, folder: Path
    ) -> None:
        server = started(folder, tp=2)
        server.wait_ready(START_S)
        pids, files, siblings = server.pids(), files_of(server), files_of(sibling)
        assert files
        assert siblings
        server.stop()
        assert not [pid for pid in pids if lives(pid)]
        assert not [file for file in files if file.exists()]
        assert all(file.exists() for file in siblings)
        assert not server.alive()
        assert sibling.client().ready()
        server.stop()

    @pytest.mark.parametrize("victim", ["main", "scheduler"])
    def test_a_killed_server_leaves_nothing_once_it_is_stopped(self, started: Serve, folder: Path, victim: str) -> None:
        server = started(folder)
        server.wait_ready(START_S)
        pids, files = server.pids(), files_of(server)
        schedulers = [pid for pid in pids if "scheduler" in " ".join(psutil.Process(pid).cmdline())]
        assert files
        assert len(schedulers) == 1
        os.kill(pids[0] if victim == "main" else schedulers[0], signal.SIGKILL)
        assert eventually(lambda: not server.alive())
        assert not server.client().ready()
        reason = server.reason()
        crashed = re.fullmatch(
            r"was killed by SIGKILL: \[.*\] Subprocess scheduler_0 .* crashed with exit code -9.*", reason
        )
        assert crashed if victim == "scheduler" else reason == "was killed by SIGKILL"
        server.stop()
        assert not [pid for pid in pids if lives(pid)]
        assert not [file for file in files if file.exists()]

    @pytest.mark.parametrize("moment", ["starting", "ready"])
    def test_a_server_dies_with_the_program_that_started_it(
        self, sglang_server: Serve, folder: Path, tmp_path: Path, moment: str
    ) -> None:
        program = [sys.executable, "-m", "tests.rollout.sglang.server_parent"]
        command = [*program, str(folder), str(tmp_path / "log"), moment]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
            try:
                assert parent.stdout is not None
                pids = [int(pid) for pid in parent.stdout.readline().split()]
                files = {file for pid in pids for file in shared_files(pid)}
                assert len(pids) >= 3
            finally:
                parent.kill()
        try:
            assert eventually(lambda: not [pid for pid in pids if lives(pid)])
        finally:
            # Nobody is left who could remove what Python does not remove itself.
            for file in files:
                file.unlink(missing_ok=True)

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [("no weights", "Cannot find any model weights"), ("half a file", "not fully covered")],
    )
    def test_a_broken_model_is_one_line_with_the_reason_and_the_log(
        self, started: Serve, folder: Path, tmp_path: Path, fault: str, reason: str
    ) -> None:
        broken = shutil.copytree(folder, tmp_path / "broken")
        weights = broken / "model.safetensors"
        if fault == "no weights":
            weights.unlink()
        else:
            os.truncate(weights, weights.stat().st_size // 2)
        server = started(broken)
        with pytest.raises(UserError) as caught:
            server.wait_ready(START_S)
        server.stop()
        message = str(caught.value)
        assert "\n" not in message
        assert all(part in message for part in (str(broken), reason, str(server.log)))

    def test_a_server_that_is_not_ready_in_time_names_the_setting(self, started: Serve, folder: Path) -> None:
        server = started(folder)
        with pytest.raises(UserError, match=r"rollout\.sglang\.start_timeout_s"):
            server.wait_ready(0.5)
        pids = server.pids()
        server.stop()
        assert not [pid for pid in pids if lives(pid)]


@pytest.mark.sglang
class TestKey:
    KEY = "open-sesame-3141"

    @pytest.fixture
    def server(self, sglang_server: Serve, folder: Path) -> ServerProcess:
        return sglang_server(folder, replica="with key", api_key=self.KEY)

    def test_requests_without_the_key_are_refused(self, server: ServerProcess) -> None:
        body = {"input_ids": [5], "sampling_params": {"max_new_tokens": 1}}
        assert httpx.post(f"{server.where}/generate", json=body, trust_env=False).status_code == 401
        assert httpx.get(f"{server.where}/model_info", trust_env=False).status_code == 401
        wrong = {"Authorization": f"Bearer {self.KEY}x"}
        assert httpx.post(f"{server.where}/generate", json=body, headers=wrong, trust_env=False).status_code == 401
        stranger = ServerProcess.client(server)
        stranger._http.headers.pop("Authorization")
        with pytest.raises(ServerError, match="401"):
            stranger.weight_version()

    def test_a_server_that_is_given_no_key_has_one_and_a_stranger_may_call_these_routes_alone(
        self, sglang_server: Serve, folder: Path
    ) -> None:
        server = sglang_server(folder, weight_version="solver-0", context_length=CONTEXT)
        routes = server.client().get("openapi.json")["paths"]
        calls = [(method.upper(), path) for path, methods in routes.items() for method in methods]
        assert ("POST", "/pause_generation") in calls and len(calls) > 80
        with httpx.Client(base_url=server.where, trust_env=False, timeout=60.0) as stranger:
            answered = {call for call in calls if stranger.request(*call, json={}).status_code not in (401, 403)}
            assert stranger.get("/openapi.json").status_code == 401
        assert answered == {("GET", "/health"), ("GET", "/health_generate"), ("GET", "/ready")}
        assert server.client().responds(60.0)

    def test_our_client_has_the_key(self, server: ServerProcess) -> None:
        client = server.client()
        assert len(client.generate({"input_ids": [5], "sampling_params": {"max_new_tokens": 1}})) == 1
        assert client.checksums()

    def test_the_key_is_in_no_command_line_and_in_no_log(self, server: ServerProcess) -> None:
        for pid in server.pids():
            assert self.KEY not in Path(f"/proc/{pid}/cmdline").read_text()
        log = server.log.read_text(encoding="utf-8")
        assert "server_args=" in log, "the line that would show the key"
        assert self.KEY not in log
