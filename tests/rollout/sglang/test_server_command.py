from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.server.command import (
    CPU_STUBS,
    TEXT_API,
    ServerSpec,
    TextApi,
    server_arguments,
    server_environment,
)

SPEC = ServerSpec(Path("/models/m"), 31000)


def value(arguments: list[str], option: str) -> str:
    assert arguments.count(option) == 1
    return arguments[arguments.index(option) + 1]


def test_arguments_of_a_cpu_server() -> None:
    spec = replace(SPEC, tp=2, weight_version="solver-3", context_length=512, extra_arguments=("--log-level", "info"))
    assert server_arguments(spec) == [
        *("--model-path", "/models/m"),
        *("--host", "127.0.0.1"),
        *("--port", "31000"),
        *("--tp-size", "2"),
        *("--dtype", "float32"),
        *("--device", "cpu"),
        *("--weight-version", "solver-3"),
        *("--max-running-requests", "256"),
        *("--attention-backend", "torch_native"),
        *("--sampling-backend", "pytorch"),
        *("--max-total-tokens", "65536"),
        *("--context-length", "519"),
        "--skip-server-warmup",
        "--skip-tokenizer-init",
        "--sleep-on-idle",
        *("--log-level", "info"),
    ]


def test_a_gpu_server_chooses_its_backends_and_its_cache_itself() -> None:
    arguments = server_arguments(replace(SPEC, device="cuda", dtype="bfloat16"))
    assert value(arguments, "--device") == "cuda"
    assert not {"--attention-backend", "--sampling-backend", "--max-total-tokens", "--context-length"} & set(arguments)


def test_a_server_for_other_programs_has_a_tokenizer_a_name_and_a_template() -> None:
    spec = replace(SPEC, text_api=TextApi("nano-solver-1", Path("/models/m/solver.jinja")))
    arguments = server_arguments(spec)
    assert value(arguments, "--served-model-name") == "nano-solver-1"
    assert value(arguments, "--chat-template") == "/models/m/solver.jinja"
    assert "--skip-tokenizer-init" not in arguments
    assert TEXT_API in server_environment(spec, {})
    assert TEXT_API not in server_environment(SPEC, {TEXT_API: "1"})


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_given_size_of_the_cache_is_passed_on(device: str) -> None:
    assert value(server_arguments(replace(SPEC, device=device, max_total_tokens=99)), "--max-total-tokens") == "99"


@pytest.mark.parametrize(
    "argument",
    [
        *("--api-key", "--api-key=s", "--api", "--admin-api-key", "--host=0.0.0.0", "--ho", "--port", "--tp"),
        *("--config", "--base-gpu-id=1", "--enable-memory-saver", "--enable-weights-cpu-backup"),
    ],
)
def test_extra_arguments_can_not_change_what_the_specification_says(argument: str) -> None:
    with pytest.raises(UserError, match=r"rollout\.sglang\.extra_arguments: --"):
        server_arguments(replace(SPEC, extra_arguments=(argument, "x")))


def test_other_extra_arguments_and_their_values_are_left_alone() -> None:
    extra = ("--disable-radix-cache", "--log-level", "info", "-1", "port", "--kv-cache-dtype=fp8_e4m3")
    assert tuple(server_arguments(replace(SPEC, extra_arguments=extra))[-6:]) == extra


def test_the_server_is_not_told_of_the_learner_s_job() -> None:
    learner = {
        "RANK": "1",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "1",
        "RZERO_MEGA_STORE": "/tmp/store",
        "TORCHELASTIC_RUN_ID": "1",
    }
    environment = server_environment(SPEC, {**learner, "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "3"})
    assert not set(learner) & set(environment)
    assert (environment["PATH"], environment["CUDA_VISIBLE_DEVICES"]) == ("/bin", "3")


def test_logprobs_are_asked_for_at_the_sampling_temperature_on_every_device() -> None:
    for device in ("cpu", "cuda"):
        environment = server_environment(replace(SPEC, device=device), {"SGLANG_RETURN_ORIGINAL_LOGPROB": "1"})
        assert environment["SGLANG_RETURN_ORIGINAL_LOGPROB"] == "0"
        assert environment["HF_HUB_OFFLINE"] == "1"


def test_stand_ins_come_first_on_the_path_of_cpu_servers_alone() -> None:
    given = {"PYTHONPATH": "/mine", "OMP_NUM_THREADS": "8"}
    cpu = server_environment(SPEC, given)
    assert cpu["PYTHONPATH"] == f"{CPU_STUBS}{os.pathsep}/mine"
    assert (cpu["OMP_NUM_THREADS"], cpu["SGLANG_USE_CPU_ENGINE"]) == ("1", "1")
    gpu = server_environment(replace(SPEC, device="cuda"), given)
    assert (gpu["PYTHONPATH"], gpu["OMP_NUM_THREADS"]) == ("/mine", "8")
    assert "SGLANG_USE_CPU_ENGINE" not in gpu


@pytest.mark.parametrize(
    ("cores", "tp", "binding"),
    [([0, 1], 2, "0|1"), ([4, 6, 7, 9, 10], 2, "4,7,10|6,9"), ([3], 2, "3|3"), ([3, 5], 4, "3|5|3|5")],
)
def test_ranks_share_the_cores_at_hand(cores: list[int], tp: int, binding: str) -> None:
    assert server_environment(replace(SPEC, tp=tp), {}, cores)["SGLANG_CPU_OMP_THREADS_BIND"] == binding


def test_cores_are_those_that_this_process_may_use() -> None:
    binding = server_environment(replace(SPEC, tp=2), {})["SGLANG_CPU_OMP_THREADS_BIND"]
    assert {int(core) for share in binding.split("|") for core in share.split(",")} == os.sched_getaffinity(0)


def test_a_context_longer_by_the_margin_is_allowed_where_one_is_given() -> None:
    name = "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN"
    assert server_environment(replace(SPEC, context_length=512), {})[name] == "1"
    assert name not in server_environment(SPEC, {})


def test_gloo_stays_on_the_loopback_interface_where_the_server_does() -> None:
    assert server_environment(SPEC, {})["GLOO_SOCKET_IFNAME"] == "lo"
    assert server_environment(SPEC, {"GLOO_SOCKET_IFNAME": "eth1"})["GLOO_SOCKET_IFNAME"] == "eth1"
    assert "GLOO_SOCKET_IFNAME" not in server_environment(replace(SPEC, host="10.0.0.1"), {})


@pytest.mark.parametrize(
    ("host", "url", "loopback"),
    [
        ("127.0.0.1", "http://127.0.0.1:31000", True),
        ("localhost", "http://localhost:31000", True),
        ("::1", "http://[::1]:31000", True),
        ("0.0.0.0", "http://127.0.0.1:31000", False),
        ("::", "http://[::1]:31000", False),
        ("10.1.2.3", "http://10.1.2.3:31000", False),
    ],
)
def test_address_of_a_server_and_whether_others_can_reach_it(host: str, url: str, loopback: bool) -> None:
    spec = replace(SPEC, host=host)
    assert (spec.url, spec.on_loopback) == (url, loopback)


def test_a_server_is_on_the_loopback_interface_unless_told_otherwise() -> None:
    fields: dict[str, Any] = ServerSpec.__dataclass_fields__
    assert fields["host"].default == "127.0.0.1"


def test_a_gpu_server_runs_on_its_gpus_and_can_give_their_memory_back() -> None:
    spec = replace(SPEC, device="cuda", tp=2, first_gpu=4, memory_saver=True)
    arguments = server_arguments(spec)
    assert value(arguments, "--base-gpu-id") == "4"
    assert {"--enable-memory-saver", "--enable-weights-cpu-backup"} <= set(arguments)
    assert "--enable-memory-saver" not in server_arguments(replace(spec, memory_saver=False))


def test_a_cpu_server_has_neither_gpus_nor_a_memory_saver() -> None:
    assert server_arguments(replace(SPEC, first_gpu=4, memory_saver=True)) == server_arguments(SPEC)
