from __future__ import annotations

import re
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import jinja2
import psutil
import pytest
from transformers import AutoTokenizer

from rzero_mega.assets import nano_base_path
from rzero_mega.commands import serve as command
from rzero_mega.commands.export import ExportOptions, export
from rzero_mega.commands.serve import ServeOptions, serve
from rzero_mega.errors import UserError
from rzero_mega.release.endpoint import Endpoint, how_to_call, of_model, of_run, server_spec
from rzero_mega.release.trained_model import trained_model
from rzero_mega.rollout.chat_template import rendered
from rzero_mega.rollout.sglang.server.process import installed
from rzero_mega.run import RunDirectory
from tests.e2e.command import start
from tests.processes import eventually, lives
from tests.release.made_run import WEIGHTS, make_run

KEY = "RZERO_SGLANG_API_KEY"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(tmp_path_factory.mktemp("runs") / "nano-seed0")


@pytest.fixture(scope="module")
def exported(run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "my-solver"
    export(run, ExportOptions(output=folder))
    return folder


@pytest.fixture
def from_run(run: RunDirectory, tmp_path: Path) -> Endpoint:
    return of_run(trained_model(run, "solver", None), tmp_path / "model")


def asked(endpoint: Endpoint) -> str:
    tokenizer: Any = AutoTokenizer.from_pretrained(endpoint.folder)
    return rendered(tokenizer, endpoint.template.read_text(), "1+2")


class TestEndpoint:
    def test_a_run_s_model_is_served_where_it_lies_under_the_run_s_name(
        self, run: RunDirectory, from_run: Endpoint
    ) -> None:
        assert from_run.name == "nano-seed0-solver-2"
        assert (from_run.folder / WEIGHTS).resolve().is_relative_to(run.path)
        assert asked(from_run) == "Q:1+2\nA:"

    def test_an_exported_folder_is_asked_as_it_was_trained(self, exported: Path, tmp_path: Path) -> None:
        endpoint = of_model(exported, tmp_path / "model")
        assert (endpoint.name, asked(endpoint)) == ("my-solver", "Q:1+2\nA:")

    def test_another_folder_is_asked_by_its_own_template(self, tmp_path: Path) -> None:
        other = tmp_path / "other"
        shutil.copytree(nano_base_path(), other)
        (other / "chat_template.jinja").write_text("<{{ messages[0].content }}>")
        assert asked(of_model(other, tmp_path / "model")) == "<1+2>"

    def test_a_folder_without_any_template_has_completions_alone(self, tmp_path: Path) -> None:
        endpoint = of_model(nano_base_path(), tmp_path / "model")
        with pytest.raises(jinja2.TemplateError, match="no chat template; use /v1/completions"):
            asked(endpoint)
        told = how_to_call(endpoint, "http://127.0.0.1:1")
        assert "/v1/completions" in told
        assert "/v1/chat" not in told

    def test_what_is_told_can_be_pasted(self, from_run: Endpoint) -> None:
        told = how_to_call(from_run, "http://127.0.0.1:1")
        assert "the prompt 'Q:12*3+5\\nA:'" in told
        assert "curl http://127.0.0.1:1/v1/chat/completions" in told
        assert '"prompt": "Q:12*3+5\\nA:"' in told

    def test_the_server_is_the_one_that_rollouts_have_but_for_its_protocol(
        self, run: RunDirectory, from_run: Endpoint
    ) -> None:
        spec = server_spec(from_run, run.config, 31000)
        assert spec.text_api is not None
        assert (spec.text_api.name, spec.text_api.chat_template) == (from_run.name, from_run.template)
        assert (spec.dtype, spec.tp, spec.host, spec.port) == ("float32", 1, "127.0.0.1", 31000)
        assert not spec.memory_saver


class TestRefusals:
    @pytest.fixture(autouse=True)
    def keyed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(KEY, "k")
        monkeypatch.setattr(command, "check_serving", lambda _: None)

    def test_a_port_that_is_taken_is_found_before_the_model_is_read(
        self, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(command, "check_model", lambda _: pytest.fail("the model was read"))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(UserError, match=f"port {port} of"):
                serve(run.path, ServeOptions(port=port), [])

    @pytest.mark.parametrize(
        ("target", "options", "overrides", "message"),
        [
            ("run", ServeOptions(port=0, iteration=7), [], "iteration 7: has no finished solver"),
            ("run", ServeOptions(port=0, role="judge"), [], "--role judge"),
            ("run", ServeOptions(port=0), ["rollout.sglang.extra_arguments=[--api-key=x]"], "--api-key is set by"),
            ("run", ServeOptions(port=0), ["rollout.sglang.tpp=2"], r"rollout\.sglang\.tpp"),
            ("exported", ServeOptions(port=0, iteration=1), [], "is a model's folder; --role and --iteration"),
            ("nothing", ServeOptions(port=0), [], "neither a run directory .* nor a model's folder"),
        ],
    )
    def test_what_cannot_be_served_is_one_line(
        self,
        run: RunDirectory,
        exported: Path,
        target: str,
        options: ServeOptions,
        overrides: list[str],
        message: str,
    ) -> None:
        folders = {"run": run.path, "exported": exported, "nothing": run.path / "inputs"}
        with pytest.raises(UserError, match=message):
            serve(folders[target], options, overrides)

    def test_damage_in_the_run_is_named(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "r", iterations=1)
        weights = trained_model(run, "solver", 1).folder / WEIGHTS
        weights.write_bytes(weights.read_bytes()[:-1] + b"!")
        with pytest.raises(UserError, match="has changed since it was written"):
            serve(run.path, ServeOptions(port=0), [])

    def test_other_machines_need_a_key_that_is_not_made_up(
        self, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(KEY)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        with pytest.raises(UserError, match=rf"--host 0\.0\.0\.0: .* as {KEY}"):
            serve(run.path, ServeOptions("0.0.0.0", 0), [])

    def test_a_key_is_not_made_up_where_it_would_go_into_a_file(
        self, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(KEY)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
        with pytest.raises(UserError, match=f"{KEY}: not set"):
            serve(run.path, ServeOptions(port=0), [])


@pytest.mark.sglang
def test_a_real_server_answers_who_has_the_key_and_ends_without_a_trace(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed():
        pytest.skip("SGLang is not installed: make sglang-cpu")
    monkeypatch.setenv(KEY, "the-secret")
    serving = start(tmp_path, "serve", str(run.path), "--port", "0")
    try:
        assert serving.stdout is not None
        log = serving.stdout.readline()
        port = re.search(r"-(\d+)\.log$", log)
        assert port, log
        with httpx.Client(base_url=f"http://127.0.0.1:{port[1]}", timeout=120, trust_env=False) as stranger:
            assert eventually(lambda: serving.poll() is not None or _ready(stranger), 300)
            started = psutil.Process(serving.pid).children(recursive=True)
            _answers(stranger)
        serving.send_signal(signal.SIGTERM)
        out, err = serving.communicate(timeout=120)
    finally:
        serving.kill()
    assert serving.returncode == 0, err
    assert out.endswith("nano-seed0-solver-2: ended\n")
    assert "the-secret" not in out + err
    assert not Path(log.split()[-1]).exists()
    assert started
    assert eventually(lambda: not [process for process in started if lives(process.pid)])


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").is_success
    except httpx.TransportError:
        return False


def _answers(stranger: httpx.Client) -> None:
    key = {"Authorization": "Bearer the-secret"}
    post = stranger.post
    asking = {"model": "nano-seed0-solver-2", "temperature": 0, "max_tokens": 80}
    chat = {**asking, "messages": [{"role": "user", "content": "12*3+5"}]}
    completion = {**asking, "prompt": "Q:12*3+5\nA:"}
    assert post("/v1/chat/completions", json=chat).status_code == 401
    assert stranger.get("/v1/models").status_code == 401
    assert stranger.get("/health_generate").status_code == 404
    (model,) = stranger.get("/v1/models", headers=key).json()["data"]
    assert model["id"] == "nano-seed0-solver-2"
    said = post("/v1/chat/completions", json=chat, headers=key).json()["choices"][0]["message"]["content"]
    assert "\\boxed{" in said
    assert post("/v1/completions", json=completion, headers=key).json()["choices"][0]["text"] == said
    two = {**chat, "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "12*3+5"}]}
    assert "one question at a time" in post("/v1/chat/completions", json=two, headers=key).json()["message"]
    for route in ("generate", "update_weights_from_disk", "abort_request", "flush_cache", "v1/tokenize", "docs"):
        assert post(f"/{route}", json={}, headers=key).status_code == 404
