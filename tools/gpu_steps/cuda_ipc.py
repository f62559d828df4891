"""An update of a real SGLang server on this GPU through CUDA-IPC handles: bytes, seconds, and whether it arrived."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, median

import torch
from torch import Tensor

from rzero_mega.config.schema import SglangConfig
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.rollout.sglang.server.command import ServerSpec
from rzero_mega.rollout.sglang.server.process import ServerProcess, installed
from rzero_mega.weights.bucket import Bucket, to_buckets
from rzero_mega.weights.hf_folder import HfWeights
from rzero_mega.weights.mapping import entries
from rzero_mega.weights.shape import read_shape
from rzero_mega.weights.transports.choice import Choice, SyncFacts
from rzero_mega.weights.transports.select import build_transport
from rzero_mega.weights.transports.session import update_servers
from rzero_mega.weights.verification.checksums import ChecksumResult, ExpectedChecksums, check_checksums
from tools.gpu_steps.models import Sizes
from tools.gpu_steps.outcome import StepFailed, Unavailable

PROMPT = [5, 6, 7, 8, 9]
# Mean difference of log-probabilities in nats that two implementations in bf16 may have.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Settings:
    """The model, how often it is updated, and where the server's output goes."""

    log: Path
    model: Sizes = field(default_factory=lambda: Sizes(16, 2048, 6144, 16, 8, 128, 32000))
    updates: int = 4
    bucket_bytes: int = 512 << 20
    tokens: int = 64
    start_timeout_s: float = 120.0
    server_memory_share: float = 0.35


@dataclass(frozen=True)
class Update:
    """Medians over the updates. `checksums` says whether the server's agree, or why they are unavailable.

    The log-probability differences (means, in nats) are between the server's samples after the last update and
    transformers with the weights that were sent, and with those that the server began with.
    """

    nbytes: int
    buckets: int
    send_seconds: float
    update_seconds: float
    gigabytes_per_second: float
    checksums: str
    logprob_difference: float
    logprob_difference_of_old_weights: float


def run(settings: Settings) -> Update:
    """Serve one random model and send it another; Unavailable without SGLang."""
    if not installed():
        raise Unavailable("sglang is not installed")
    if not torch.cuda.is_available():
        raise Unavailable("needs a GPU with CUDA")
    with tempfile.TemporaryDirectory() as name:
        old, new = (settings.model.write(Path(name) / str(seed), seed=seed) for seed in (0, 1))
        spec = ServerSpec(
            old,
            port=0,
            dtype="bfloat16",
            device="cuda",
            extra_arguments=("--mem-fraction-static", str(settings.server_memory_share)),
        )
        server = ServerProcess.start(spec, settings.log)
        try:
            server.wait_ready(settings.start_timeout_s)
            client = server.client(timeout_s=60)
            try:
                return _update(settings, client, old, new)
            finally:
                client.close()
        finally:
            server.stop()


def _update(settings: Settings, client: SglangClient, old: Path, new: Path) -> Update:
    facts = SyncFacts("cuda", "cuda", same_host=True, shared_gpus=True)
    transport = build_transport(Choice("tensor", "measured"), facts, old, SglangConfig())
    weights = {folder: list(device_tensors(folder)) for folder in (old, new)}
    shape = read_shape(new)
    reports, checked = [], ChecksumResult(False, "no update")
    order = [new if number % 2 == 0 else old for number in range(settings.updates - 1)] + [new]
    for number, folder in enumerate(order):
        expected = ExpectedChecksums(shape, client.tp, torch.bfloat16, "cuda")
        buckets: Iterator[Bucket] = to_buckets(weights[folder], settings.bucket_bytes)
        reports.append(update_servers([client], transport, buckets, f"update-{number}"))
        # Not measured: it would be part of `send`.
        for name, tensor in weights[folder]:
            expected.add(name, tensor)
        checked = check_checksums(client, expected, f"update-{number}")
    transport.close()
    output, logprobs = _sample(client, settings.tokens)
    differences = [
        fmean(abs(a - b) for a, b in zip(hf_logprobs(folder, output), logprobs, strict=True)) for folder in (new, old)
    ]
    send = median(report.seconds["send"] for report in reports)
    found = Update(
        nbytes=reports[-1].nbytes,
        buckets=reports[-1].buckets,
        send_seconds=send,
        update_seconds=median(sum(report.seconds.values()) for report in reports),
        gigabytes_per_second=reports[-1].nbytes / send / 1e9,
        checksums="agree" if checked.available else f"unavailable: {checked.detail}",
        logprob_difference=differences[0],
        logprob_difference_of_old_weights=differences[1],
    )
    if not found.logprob_difference < min(TOLERANCE, found.logprob_difference_of_old_weights):
        raise StepFailed("the server does not answer with the weights that were sent", asdict(found))
    return found


def device_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor on the GPU) of every weight, in the order of our tables."""
    with HfWeights(folder) as weights:
        for entry in entries(read_shape(folder)):
            for name in entry.hf:
                yield name, weights.tensor(name).cuda()


def _sample(client: SglangClient, tokens: int) -> tuple[list[int], list[float]]:
    body = {
        "input_ids": [PROMPT],
        "sampling_params": {"temperature": 1.0, "max_new_tokens": tokens, "ignore_eos": True},
        "return_logprob": True,
    }
    (answer,) = client.generate(body)
    return answer["output_ids"], [item[0] for item in answer["meta_info"]["output_token_logprobs"]]


@torch.no_grad()
def hf_logprobs(folder: Path, output: Sequence[int]) -> list[float]:
    """Log-probability of each token after PROMPT at temperature 1, by transformers in bf16 on the GPU."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).cuda()
    logits = model(torch.tensor([[*PROMPT, *output]], device="cuda")).logits[0].float()
    wanted = torch.tensor(output, device="cuda")[:, None]
    found: list[float] = logits.log_softmax(-1)[len(PROMPT) - 1 : -1].gather(1, wanted)[:, 0].tolist()
    return found
