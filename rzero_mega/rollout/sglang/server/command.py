"""What an SGLang server is started with: its arguments and its environment. Pure, but for the count of cores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.errors import UserError

CPU_STUBS = Path(__file__).with_name("cpu_stubs")
# Takes the API key from us to the server: a command line can be read by everyone on the machine.
API_KEY = "RZERO_MEGA_SERVER_API_KEY"
# Tells the server's program that strangers are to reach the routes of OpenAI's protocol alone.
TEXT_API = "RZERO_MEGA_SERVER_TEXT_API"
# A CPU server that is not told how large its KV cache may be takes most of the machine's memory.
CPU_MAX_TOTAL_TOKENS = 65_536
# Of its context length SGLang gives a prompt seven tokens less, and a prompt and its response together two less.
CONTEXT_MARGIN = 7
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# What a rank of the learner is told about its job; the server's processes would take it for their own.
LEARNERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
LEARNERS_PREFIXES = ("RZERO_MEGA_", "TORCHELASTIC_")
# Options that follow from the specification, or would go round it.
RESERVED = (
    "--model-path",
    "--host",
    "--port",
    "--tp-size",
    "--tensor-parallel-size",
    "--dtype",
    "--device",
    "--weight-version",
    "--api-key",
    "--admin-api-key",
    "--context-length",
    "--max-total-tokens",
    "--max-running-requests",
    "--config",
    "--skip-tokenizer-init",
    "--served-model-name",
    "--chat-template",
    "--trust-remote-code",
    "--base-gpu-id",
    "--gpu-id-step",
    "--enable-memory-saver",
    "--enable-weights-cpu-backup",
)


@dataclass(frozen=True)
class TextApi:
    """OpenAI's protocol, for programs that know nothing of tokens: under which name, and how messages become a prompt.

    `chat_template` is a .jinja file, which takes the place of whatever template the model has.
    """

    name: str
    chat_template: Path


@dataclass(frozen=True)
class ServerSpec:
    """One server: `model` (a Hugging Face folder) over `tp` processes.

    `weight_version` is what it reports and writes into samples from its start. `max_total_tokens` bounds the KV cache
    (None: the server's own choice on a GPU, CPU_MAX_TOTAL_TOKENS on a CPU). `context_length` is what a prompt and its
    response may have together; it must not be more than the model's, which SGLang doesn't check (None: the model's less
    CONTEXT_MARGIN). On CUDA the server runs on the GPUs `first_gpu` … `first_gpu + tp - 1`, and with `memory_saver` it
    can give their memory back (see `turns`). `extra_arguments` go to SGLang as they are.

    A run's servers take and give tokens, and have all of SGLang's routes. One with a `text_api` has those of OpenAI's
    protocol instead (see `serve.py`).
    """

    model: Path
    port: int
    tp: int = 1
    dtype: str = "float32"
    device: str = "cpu"
    host: str = "127.0.0.1"
    weight_version: str = "0"
    max_running_requests: int = 256
    max_total_tokens: int | None = None
    context_length: int | None = None
    first_gpu: int = 0
    memory_saver: bool = False
    extra_arguments: tuple[str, ...] = ()
    text_api: TextApi | None = None

    @property
    def on_loopback(self) -> bool:
        """Whether this machine alone can reach the server."""
        return self.host in LOOPBACK

    @property
    def url(self) -> str:
        """Base address for clients on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def server_arguments(spec: ServerSpec) -> list[str]:
    """Arguments of SGLang's server. UserError names an extra argument that the configuration decides."""
    check_extra_arguments(spec.extra_arguments)
    values = {
        "--model-path": spec.model,
        "--host": spec.host,
        "--port": spec.port,
        "--tp-size": spec.tp,
        "--dtype": spec.dtype,
        "--device": spec.device,
        "--weight-version": spec.weight_version,
        "--max-running-requests": spec.max_running_requests,
    }
    max_total_tokens = spec.max_total_tokens
    if spec.device == "cpu":
        values |= {"--attention-backend": "torch_native", "--sampling-backend": "pytorch"}
        max_total_tokens = max_total_tokens or CPU_MAX_TOTAL_TOKENS
    if max_total_tokens is not None:
        values["--max-total-tokens"] = max_total_tokens
    if spec.context_length is not None:
        values["--context-length"] = spec.context_length + CONTEXT_MARGIN
    switches = ["--skip-server-warmup"]
    if spec.text_api is None:
        switches.append("--skip-tokenizer-init")
    else:
        values |= {"--served-model-name": spec.text_api.name, "--chat-template": spec.text_api.chat_template}
    if spec.device == "cuda":
        # Not CUDA_VISIBLE_DEVICES: a handle to memory names its GPU by the number that the learner knows it by.
        values["--base-gpu-id"] = spec.first_gpu
        if spec.memory_saver:
            # Without the copy in host memory the weights would come back as whatever is in the GPU's.
            switches += ["--enable-memory-saver", "--enable-weights-cpu-backup"]
    if spec.device == "cpu":
        switches.append("--sleep-on-idle")  # the learner works on the same cores while the server waits
    return [*(str(part) for option in values.items() for part in option), *switches, *spec.extra_arguments]


class Secret(str):
    """A string whose representation hides it: SGLang writes all its settings into its log when it starts."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def check_extra_arguments(arguments: Sequence[str]) -> None:
    """UserError for an option that the configuration decides."""
    for argument in arguments:
        option = argument.partition("=")[0]
        # SGLang's command line takes every unambiguous beginning of an option for the option.
        if option.startswith("--") and any(reserved.startswith(option) for reserved in RESERVED):
            raise UserError(f"rollout.sglang.extra_arguments: {option} is set by rzero-mega; remove it")


def server_environment(
    spec: ServerSpec, environ: Mapping[str, str], cores: Sequence[int] | None = None
) -> dict[str, str]:
    """The server's environment: `environ` without what concerns the learner, and SGLang's switches.

    `cores` are the processors that a CPU server may use; None takes those of this process.
    """
    environment = {
        name: value
        for name, value in environ.items()
        if name not in LEARNERS and not name.startswith(LEARNERS_PREFIXES)
    }
    environment |= {
        "HF_HUB_OFFLINE": "1",
        # Log-probabilities of samples are to be those at the sampling temperature, whatever this machine is used for.
        "SGLANG_RETURN_ORIGINAL_LOGPROB": "0",
    }
    if spec.text_api is not None:
        environment[TEXT_API] = "1"
    if spec.context_length is not None:
        # CONTEXT_MARGIN may go past what the model was made for; no token is ever there.
        environment["SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN"] = "1"
    if spec.on_loopback:
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if spec.device == "cpu":
        paths = [str(CPU_STUBS), *filter(None, [environ.get("PYTHONPATH")])]
        environment |= {
            "PYTHONPATH": os.pathsep.join(paths),
            "SGLANG_USE_CPU_ENGINE": "1",
            # With more threads small models are slower by an order of magnitude.
            "OMP_NUM_THREADS": "1",
            # Otherwise the first request waits for a C++ compiler, which machines need not have.
            "TORCHDYNAMO_DISABLE": "1",
        }
        if spec.tp > 1:
            usable = sorted(os.sched_getaffinity(0)) if cores is None else cores
            environment["SGLANG_CPU_OMP_THREADS_BIND"] = _shares(usable, spec.tp)
    return environment


def _shares(cores: Sequence[int], ranks: int) -> str:
    """Cores of each rank in SGLang's notation; where there are too few, ranks share them."""
    shares = [cores[rank::ranks] or [cores[rank % len(cores)]] for rank in range(ranks)]
    return "|".join(",".join(map(str, share)) for share in shares)
