"""Servers in SGLang's batch-invariant mode: what they are started with, what they are asked, and what is refused."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rzero_mega.assets import nano_base_path
from rzero_mega.config import load_config
from rzero_mega.config.placement import Placement, ServerPlace
from rzero_mega.config.schema import RolloutConfig, SamplingConfig, SglangConfig, VerifyConfig, WeightsConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.partial import left_to_draw
from rzero_mega.rollout.protocol import FinishReason, Request, Sample, draws_of, logprob_array, token_array
from rzero_mega.rollout.sglang.pool import choices, server_pool
from rzero_mega.rollout.sglang.pool.choices import BATCH_INVARIANT_ATTENTION, check_deterministic
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.rollout.sglang.pool.wire import generate_body
from rzero_mega.rollout.sglang.server.command import ServerSpec, server_arguments
from tests.rollout.sglang.stand_in import StandInServer

ON = "rollout.sglang.deterministic=true"
REQUEST = Request("solver/1/3", (5, 6, 7), 8, SamplingConfig(max_new_tokens=9))


def seeds(requests: Sequence[Request]) -> list[int]:
    parameters = generate_body(draws_of(requests), [], 100)["sampling_params"]
    return [found["sampling_seed"] for found in parameters]


def test_every_sample_has_a_seed_of_its_own_that_its_key_and_index_alone_decide() -> None:
    found = seeds([REQUEST, replace(REQUEST, key="solver/1/4")])
    assert len(set(found)) == 16 and all(0 <= seed < 2**63 for seed in found)
    # Otherwise a server of this mode draws all samples of a prompt alike.
    alone = [replace(REQUEST, n=1, first_index=index) for index in range(8)]
    assert [seed for request in alone for seed in seeds([request])] == found[:8]


def test_a_sample_that_was_stopped_goes_on_by_the_same_seed() -> None:
    stopped = Sample(
        REQUEST.key, 3, REQUEST.prompt_tokens, token_array([8]), logprob_array([-1.0]), FinishReason.ABORT, 0
    )
    rest = next(request for request in left_to_draw(REQUEST, [stopped]) if request.first_index == 3)
    assert len(rest.prompt_tokens) == 4 and seeds([rest]) == [seeds([REQUEST])[3]]


@pytest.mark.parametrize("deterministic", [True, False])
def test_servers_are_started_in_the_mode_if_it_is_asked_for(
    deterministic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[ServerSpec] = []

    def start(name: str, attempt: int, spec: ServerSpec, *_: object) -> StandInServer:
        started.append(spec)
        return StandInServer(name, [])

    monkeypatch.setattr(server_pool, "start_server", start)
    placement = Placement(1, (range(1),), (ServerPlace(0, 0),), shared_gpus=False)
    sglang = SglangConfig(deterministic=deterministic, extra_arguments=["--attention-backend", "fa3"])
    rollout = RolloutConfig(engine="sglang", dtype="float32", sglang=sglang)
    weights = WeightsConfig(verify=VerifyConfig(checksums_every=0))
    ServerPool(rollout, weights, placement, None, tmp_path).engine("solver", nano_base_path())
    arguments = server_arguments(replace(started[0], device="cuda"))
    own = ["--enable-deterministic-inference"] if deterministic else []
    assert arguments[arguments.index("--attention-backend") :] == ["--attention-backend", "fa3", *own]


def test_servers_on_cpus_have_no_such_mode() -> None:
    with pytest.raises(UserError, match=r"^rollout\.sglang\.deterministic: .* CPUs .*; set it to false"):
        check_deterministic(load_config(overrides=[ON]))
    check_deterministic(load_config())


def test_attention_and_adapters_that_are_not_batch_invariant_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "device_of_servers", lambda: "cuda")
    check_deterministic(load_config(overrides=[ON]))
    for given in ("[--attention-backend=fa3]", "[--decode-attention-backend, triton]", "[--log-level, info]"):
        check_deterministic(load_config(overrides=[ON, f"rollout.sglang.extra_arguments={given}"]))
    for given in ("[--attention-backend=trtllm_mha]", "[--attention-backend, trtllm_mha]"):
        with pytest.raises(UserError, match=r"^rollout\.sglang\.extra_arguments: --attention-backend=trtllm_mha "):
            check_deterministic(load_config(overrides=[ON, f"rollout.sglang.extra_arguments={given}"]))
    adapters = [ON, "learner.lora.rank=8"]
    with pytest.raises(UserError, match=r"^weights\.adapters: .*set it to added"):
        check_deterministic(load_config(overrides=adapters))
    check_deterministic(load_config(overrides=[*adapters, "weights.adapters=added"]))


@pytest.mark.sglang
def test_the_installed_sglang_takes_these_kinds_of_attention_in_the_mode_and_not_that_of_cpu_servers() -> None:
    found = importlib.util.find_spec("sglang")
    if found is None or not found.submodule_search_locations:
        pytest.skip("SGLang is not installed")
    text = (Path(found.submodule_search_locations[0]) / "srt/arg_groups/choices.py").read_text()
    lists = {ast.unparse(node.targets[0]): node.value for node in ast.parse(text).body if isinstance(node, ast.Assign)}
    takes = ast.literal_eval(lists["DETERMINISTIC_ATTENTION_BACKEND_CHOICES"])
    on_cpus = server_arguments(ServerSpec(Path("model"), 1))
    assert set(BATCH_INVARIANT_ATTENTION) <= set(takes)
    assert on_cpus[on_cpus.index("--attention-backend") + 1] not in takes
