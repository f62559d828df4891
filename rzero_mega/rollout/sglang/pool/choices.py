"""What a configuration means for servers: where they run, how weights reach them and in which form.

Nothing here starts anything. `check_servers` finds out before a run what would keep them from working.
"""

from __future__ import annotations

import logging
import os
from itertools import pairwise
from pathlib import Path

import torch

from rzero_mega.config.placement import Placement, on_one_machine, placement_of
from rzero_mega.config.schema import Config, LoraConfig, RolloutConfig, SglangConfig, WeightsConfig
from rzero_mega.errors import UserError
from rzero_mega.open_files import allow_many_open_files
from rzero_mega.rollout.sglang.nodes.job_files import JobNode
from rzero_mega.rollout.sglang.pool.draw_queue import Supply
from rzero_mega.rollout.sglang.server.installation import learning, nccl_of, servers_python, this_python
from rzero_mega.rollout.sglang.server.process import check_startable
from rzero_mega.weights.adapters import hf_modules
from rzero_mega.weights.mapping import entries, hf_sizes
from rzero_mega.weights.quantization.scheme import SCHEMES, Scheme
from rzero_mega.weights.quantization.server_limits import TargetServer, check_servable
from rzero_mega.weights.shape import ModelShape
from rzero_mega.weights.transports.choice import SyncFacts, choose
from rzero_mega.weights.verification.server_tables import padded_on_cpu

_log = logging.getLogger(__name__)
# Of the attention that SGLang has for NVIDIA's GPUs, what it takes together with --enable-deterministic-inference.
BATCH_INVARIANT_ATTENTION = ("fa3", "fa4", "flashinfer", "triton")
ATTENTION_OPTIONS = ("--attention-backend", "--prefill-attention-backend", "--decode-attention-backend")


def device_of_servers() -> str:
    """Kind of device: "cuda" where there are GPUs, "cpu" elsewhere."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_nodes(placement: Placement, job: JobNode | None) -> None:
    """UserError if there are servers on other nodes, and no job that has processes there."""
    if job is None and any(place.node for place in placement.servers):
        raise UserError("placement.nodes: servers on several nodes need a job; `rzero-mega submit` makes one")


def placement_here(config: Config) -> Placement:
    """The configuration's placement; one machine without GPUs has room for any number of servers."""
    if device_of_servers() == "cuda" or config.placement.nodes > 1:
        return placement_of(config)
    return on_one_machine(config)


def sync_facts(placement: Placement, rollout: RolloutConfig) -> SyncFacts:
    """Servers run on the learner's kind of device; the first rank, which sends weights, is on node 0."""
    device = device_of_servers()
    return SyncFacts(
        learner_device=device,
        server_device=device,
        same_host=all(place.node == 0 for place in placement.servers),
        shared_gpus=placement.shared_gpus and device == "cuda",
        nccl_apart=_nccl_apart(servers_python(rollout.sglang.python)) if device == "cuda" else "",
    )


def _nccl_apart(python: Path) -> str:
    """Why NCCL does not join this process and servers of `python`; "" where both have the same release."""
    if python == this_python():
        return ""
    ours = ".".join(map(str, torch.cuda.nccl.version()))
    theirs = nccl_of(python)
    if ours == theirs:
        return ""
    return f"NCCL joins no two releases, and the learner has {ours}, the servers {theirs or 'one that is not known'}"


def quantization_scheme(rollout: RolloutConfig, weights: WeightsConfig, shape: ModelShape) -> Scheme | None:
    """The FP8 scheme of `weights.quantization`; UserError lists what keeps the servers from serving it."""
    if weights.quantization == "none":
        return None
    if shape.biased_routing:
        raise UserError(f"weights.quantization: {weights.quantization} is not there for {shape.family}; set it to none")
    scheme = SCHEMES[weights.quantization]
    server = TargetServer(rollout.sglang.tp, device_of_servers(), rollout.dtype, updates=True)
    check_servable(scheme, hf_sizes(entries(shape)).items(), shape.kv_heads, server)
    return scheme


def served_adapters(config: Config) -> LoraConfig | None:
    """The adapters that go to servers without what they are added to; None where whole weights are sent."""
    lora = config.learner.lora
    return None if lora.rank is None or config.weights.adapters == "added" else lora


def check_adapters(config: Config, shape: ModelShape) -> None:
    """UserError names the key if servers can't have the adapters that go to them."""
    if served_adapters(config) is None:
        return
    way = "set it to added, which sends whole weights"
    if config.weights.quantization != "none":
        raise UserError(
            f"weights.adapters: alone, beside weights that weights.quantization rounds, is not there; {way}"
        )
    tp = config.rollout.sglang.tp
    if device_of_servers() == "cpu" and padded_on_cpu(shape, tp):
        raise UserError(
            f"weights.adapters: SGLang's CPU servers fill up this model's {padded_on_cpu(shape, tp)} to share it out, "
            f"and not its adapters; {way}"
        )


def check_attention(shape: ModelShape) -> None:
    """UserError if servers would start with the model, and end at their first prompt."""
    if shape.latent is not None and device_of_servers() == "cpu":
        raise UserError(
            f"rollout.engine: attention of SGLang's on CPUs can't read {shape.family}'s latent keys; set it to embedded"
        )


def adapter_arguments(lora: LoraConfig | None) -> list[str]:
    """What servers are started with to have room for adapters: the one that serves, and the next."""
    if lora is None:
        return []
    native = ["--lora-backend", "torch_native"] if device_of_servers() == "cpu" else []
    sizes = ["--max-lora-rank", str(lora.rank), "--max-loras-per-batch", "2"]
    return ["--enable-lora", *sizes, "--lora-target-modules", *hf_modules(lora), *native]


def deterministic_arguments(sglang: SglangConfig) -> list[str]:
    """What servers in SGLang's batch-invariant mode are started with."""
    return ["--enable-deterministic-inference"] if sglang.deterministic else []


def check_deterministic(config: Config) -> None:
    """UserError if servers are to be batch-invariant and can't be, or not as a whole."""
    sglang, key = config.rollout.sglang, "rollout.sglang.deterministic"
    if not sglang.deterministic:
        return
    if device_of_servers() == "cpu":
        raise UserError(f"{key}: SGLang's attention on CPUs has no batch-invariant mode; set it to false")
    words = [word for argument in sglang.extra_arguments for word in argument.split("=", 1)]
    named = [(option, value) for option, value in pairwise(words) if option in ATTENTION_OPTIONS]
    wrong = next((f"{option}={value}" for option, value in named if value not in BATCH_INVARIANT_ATTENTION), None)
    if wrong is not None:
        raise UserError(
            f"rollout.sglang.extra_arguments: {wrong} has no batch-invariant mode ({key}); take one of "
            f"{', '.join(BATCH_INVARIANT_ATTENTION)}"
        )
    if served_adapters(config) is not None:
        raise UserError(
            f"weights.adapters: SGLang doesn't say that products with adapters are batch-invariant ({key}); set it to "
            "added, which sends whole weights"
        )


def check_room_for_roles(sglang: SglangConfig) -> None:
    """UserError if both roles' servers are to be awake on the same GPUs, each with all of their memory."""
    bounded = any(argument.startswith("--mem-fraction-static") for argument in sglang.extra_arguments)
    if sglang.roles == "together" and device_of_servers() == "cuda" and not bounded:
        raise UserError(
            "rollout.sglang.roles: together has two servers on a GPU, and each would take all of its memory; give each "
            "its part by rollout.sglang.extra_arguments=[--mem-fraction-static=0.4]"
        )


def warn_of_open_files(config: Config) -> None:
    """Say it if all connections to servers that there may be are more than the first rank may have open."""
    sglang = config.rollout.sglang
    roles = 2 if sglang.roles == "together" else 1
    connections = roles * len(placement_here(config).servers) * Supply(sglang.max_running_requests).most
    limit = allow_many_open_files()
    if connections > limit:
        _log.warning(
            "the servers may be asked over %d connections at once, and a process here may have %d files open: raise "
            "the hard limit (ulimit -Hn) where calls of servers fail",
            connections,
            limit,
        )


def check_servers(config: Config, shape: ModelShape) -> None:
    """UserError for what would keep servers from starting, or weights from reaching them; starts nothing.

    Tells what the learner and the servers run with.
    """
    sglang = config.rollout.sglang
    check_room_for_roles(sglang)
    serving = check_startable(sglang.host, os.environ.get(sglang.api_key_env), servers_python(sglang.python))
    _log.info("learner: %s", learning())
    _log.info("servers: %s", serving)
    warn_of_open_files(config)
    choose(config.weights.sync, sync_facts(placement_here(config), config.rollout))
    quantization_scheme(config.rollout, config.weights, shape)
    check_adapters(config, shape)
    check_attention(shape)
    check_deterministic(config)
