"""What is hashed on the way to servers: only what a server compares, and with the hash that it has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.pool.weight_sender import HandedFolders, UpdateCosts, WeightSender
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.model_files import SINGLE
from rzero_mega.weights.quantization.scheme import SCHEMES
from rzero_mega.weights.shape import shape_of
from rzero_mega.weights.sources import FolderWeights
from rzero_mega.weights.transports.protocol import Server
from rzero_mega.weights.verification.checksums import ExpectedChecksums
from tests.rollout.sglang.stand_in import NoTransport
from tests.weights.updates import RecordingServer, stream

MODEL = ("qwen3", 1)
COPIES = ("config.json", "generation_config.json")
FUSED, OTHER = "model.layers.1.self_attn.qkv_proj.weight", "model.layers.0.mlp.down_proj.weight"


class Arrives:
    """A transport over which everything arrives."""

    needs_session = False

    def send(self, servers: Sequence[Server], buckets: Iterable[Bucket]) -> None:
        for _ in buckets:
            pass

    def close(self) -> None:
        pass


def reported(model: Any, device: str, **instead: str) -> list[dict[str, str]]:
    """The checksums of a server that holds the model, with others for some tensors."""
    expected = ExpectedChecksums(shape_of(model.config), 1, torch.float32, device)
    for _ in expected.watch(stream(model)):
        pass
    return [{**expected.by_rank()[0], **instead}]


def server_on(device: str, model: Any, **info: Any) -> RecordingServer:
    server = RecordingServer()
    server.answers = {"server_info": {"device": device, **info}, "checksums": reported(model, device)}
    return server


def sender(scheme: str | None = None) -> WeightSender:
    return WeightSender(Arrives(), SCHEMES[scheme] if scheme else None, torch.float32, 1, checksums_every=1)


def send(sender: WeightSender, server: RecordingServer, model: Any, check: bool = True) -> UpdateCosts:
    return sender.send([server], stream(model), shape_of(model.config), "2", check)


def load(sender: WeightSender, server: RecordingServer, model: Any) -> None:
    sender.check_loaded([server], stream(model), shape_of(model.config), "1")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_a_server_compares_is_hashed_and_what_differs_is_named(
    device: str, tiny_model: Callable[..., Any]
) -> None:
    model, sending = tiny_model(*MODEL), sender()
    server = server_on(device, model)
    load(sending, server, model)
    costs = send(sending, server, model)
    nbytes = sum(tensor.numel() * 4 for tensor in model.state_dict().values())
    assert costs.sent_megabytes == costs.verified_megabytes == pytest.approx(nbytes / 1e6)
    assert costs.verify_seconds > 0 and costs.send_seconds > 0
    server.answers["checksums"][0][FUSED] = "0" * 16
    with pytest.raises(UserError, match=f"version 2 differ from what was sent: rank 0 {FUSED}"):
        send(sending, server, model)


@pytest.mark.parametrize(
    ("device", "info", "scheme"),
    [("xpu", {}, None), ("cuda", {"quantization": "fp8"}, None), ("cuda", {}, "fp8_block")],
)
def test_nothing_is_hashed_that_no_server_compares(
    device: str,
    info: dict[str, Any],
    scheme: str | None,
    tiny_model: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, sending = tiny_model(*MODEL, hidden_size=128, intermediate_size=128), sender(scheme)
    server = RecordingServer()
    server.answers = {"server_info": {"device": device, **info}}
    monkeypatch.setattr(ExpectedChecksums, "add", lambda *_: pytest.fail("hashed"))
    load(sending, server, model)
    assert send(sending, server, model).verified_megabytes == 0
    assert "weights_checker" not in server.paths()


def test_an_update_that_is_not_checked_is_not_hashed(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model(*MODEL)
    costs = send(sender(), server_on("cuda", model), model, check=False)
    assert costs.verified_megabytes == costs.verify_seconds == 0 < costs.sent_megabytes


def test_on_gpus_what_a_server_keeps_in_another_form_is_named_once_and_left_out(
    tiny_model: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    model, sending = tiny_model(*MODEL), sender()
    server = server_on("cuda", model)
    server.answers["checksums"] = reported(model, "cuda", **{FUSED: "1" * 16, "model.rotary.scale": "2" * 16})
    load(sending, server, model)
    assert "2 tensors of servers are not compared after updates" in caplog.text and FUSED in caplog.text
    send(sending, server, model)
    server.answers["checksums"][0][OTHER] = "0" * 16
    with pytest.raises(UserError, match=f"rank 0 {OTHER}"):
        send(sending, server, model)
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1


def test_on_cpus_a_model_that_was_loaded_wrongly_is_an_error(tiny_model: Callable[..., Any]) -> None:
    server = server_on("cpu", tiny_model("qwen3", 2))
    with pytest.raises(UserError, match="version 1 differ"):
        load(sender(), server, tiny_model(*MODEL))


def test_costs_add_up() -> None:
    costs = UpdateCosts(1.0, 2.0, 3.0, 4.0)
    costs.add(UpdateCosts(0.5, 0.5, 0.5, 0.5))
    assert costs == UpdateCosts(1.5, 2.5, 3.5, 4.5)


@pytest.mark.parametrize("check", [True, False])
def test_a_model_s_folder_is_read_by_servers_themselves_and_only_read_here_to_be_compared(
    check: bool, tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    model = tiny_model(*MODEL)
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "consolidated.safetensors").write_bytes(b"no part of the model")
    links = HandedFolders(tmp_path / "next", timeout_s=9.0)
    handing, server = WeightSender(NoTransport(), None, torch.float32, 1, 1, links), server_on("cpu", model)
    source = FolderWeights(tmp_path / "model", shape_of(model.config), 10_000)
    costs = handing.send_folder([server], source, "solver-2-0", check)
    body = next(body for path, body in server.calls if path == "update_weights_from_disk")
    assert body["model_path"] == str(tmp_path / "next") and body["flush_cache"] is True
    assert {path.name for path in (tmp_path / "next").iterdir()} == {*COPIES, SINGLE}
    assert (tmp_path / "next" / SINGLE).resolve() == tmp_path / "model" / SINGLE
    assert costs.sent_megabytes == 0 and (costs.verified_megabytes > 0) == check
    assert server.calls[-2][1] == {"new_version": "solver-2-0", "abort_all_requests": False}
