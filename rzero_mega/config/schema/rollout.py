"""The engine that speaks for the policies, and how weights get to it from the learner."""

from __future__ import annotations

from dataclasses import dataclass, field

from rzero_mega.config.schema.metadata import FREE, LAST_BITS, SAMPLING, choice, number, path, stating, value


@dataclass
class SglangConfig:
    """The SGLang servers of one role; each of the two roles has as many. Only `rollout.engine: sglang` looks at it."""

    python: str | None = path(None)
    """Interpreter of the environment that holds SGLang, which asks for other versions of torch and transformers than a
    learner on GPUs has: .venv-sglang/bin/python after `make gpu`, /opt/sglang/bin/python in our image. Nothing of this
    package need be installed there. null: the interpreter of the run."""

    replicas: int = number(1, 1)
    """Servers per role. A sample is drawn by the one with the least to do."""

    tp: int = number(1, 1)
    """GPUs that one server spreads the model over, all of one node. The smallest that leaves room for a large KV cache
    gives the most tokens per second and GPU."""

    host: str = "127.0.0.1"
    """Address that servers listen on. 0.0.0.0 where some run on other nodes than the first; then the environment must
    hold a key (`api_key_env`)."""

    api_key_env: str = "RZERO_SGLANG_API_KEY"
    """Name of the environment variable with the servers' key; the key itself never stands in a configuration. Jobs make
    one up where it is not set."""

    roles: str = choice("in_turn", "together")
    """in_turn: servers of the role that doesn't speak give their GPU memory back. together: both roles keep theirs, and
    the Solver votes on a step's first questions while the Challenger still writes. Both must fit beside each other:
    give each at most half by --mem-fraction-static in `extra_arguments`. Without GPUs it is always so."""

    max_running_requests: int = number(256, 1)
    """Sequences that a server decodes at a time; an eighth as many more wait there for the next free slot. Raise it if
    the servers' logs show KV cache unused."""

    max_total_tokens: int | None = number(None, 1)
    """Most tokens in a server's KV cache. null: what memory allows on GPUs, 65,536 on CPUs."""

    context_length: int | None = number(None, 1, kind=SAMPLING)
    """Most tokens of a prompt with its response. null: what the model was made for; no more than that."""

    start_timeout_s: float = number(900.0, 1.0)
    """Seconds until a server must be ready. Raise it for large models on slow file systems."""

    request_timeout_s: float = number(60.0, 0.1)
    """Seconds until a server must answer when it is asked whether it lives: the longest step of its scheduler."""

    hang_timeout_s: float = number(180.0, 1.0)
    """Seconds without a sign of life, or until anything but a generation must be answered; then a server counts as
    dead. Generations last as long as the server lives."""

    attempts: int = number(3, 1)
    """Times that a server is started for one model and its updates, and a request sent, until the run gives up."""

    deterministic: bool = value(False, LAST_BITS)
    """SGLang's batch-invariant mode: what a server says of a token does not depend on what it works on beside it, and
    the same weights draw the same samples for the same request. Slower. GPUs alone, with the attention of fa3, fa4,
    flashinfer or triton."""

    extra_arguments: list[str] = field(default_factory=list, metadata=stating(LAST_BITS))
    """More arguments of `sglang.launch_server`, for instance --mem-fraction-static=0.8, or --kv-cache-dtype=fp8_e4m3
    for twice as many tokens in the KV cache (see `weights.verify.probe_tolerance`). Those that follow from the
    configuration are refused."""


@dataclass
class RolloutConfig:
    """Who draws the rollouts, votes and evaluations."""

    engine: str = choice("embedded", "sglang", kind=SAMPLING)
    """embedded: a decoder in the learner's processes, whose rollouts are the same bit by bit when a run is resumed; for
    CPUs and small models. sglang: servers of their own."""

    dtype: str = choice("bfloat16", "float32", kind=SAMPLING)
    """What the engine computes in. float32 is for CPUs and comparisons."""

    batch_sequences: int = number(256, 1, kind=LAST_BITS)
    """Sequences that the embedded engine decodes together per process. Memory of the KV cache grows with it."""

    sglang: SglangConfig = field(default_factory=SglangConfig, metadata=stating(FREE))
    """SGLang's servers."""


@dataclass
class VerifyConfig:
    """How one knows that the engine speaks for the weights that the learner sent."""

    checksums_every: int = number(1, 0)
    """Compare each tensor's checksum on the servers with what was sent, every this many updates; 0: never. Both sides
    hash on the same kind of device: servers on CPUs cost a SHA-256 of everything here."""

    probe_every: int = number(1, 0)
    """Compare log-probabilities of a few rollouts between learner and engine before they are trained on: in the first
    step of a training phase, and then every this many; 0: never. Costs a forward pass over `probe_sequences` on both
    sides."""

    probe_sequences: int = number(4, 1)
    """Rollouts compared by a probe."""

    probe_tolerance: float | None = number(None, 0.0)
    """Largest mean |difference| of log-probabilities, nats per token; one token may differ 25 times as much. null: what
    the less precise dtype of the two may show, 1e-4 for float32, 0.1 for bfloat16, 0.2 for FP8."""


@dataclass
class WeightsConfig:
    """How weights go from the learner's layout to the rollout engine."""

    executor: str = choice("fast", "reference")
    """fast: bucket by bucket, point to point, two buckets in memory at most. reference: gathers tensor by tensor, to
    debug the other one."""

    sync: str = choice("auto", "disk", "collective", "tensor")
    """Transport to SGLang's servers. collective: one NCCL or gloo broadcast reaches all. tensor: CUDA-IPC handles on
    one node, or where learner and servers share GPUs on each node from a rank there; else the bytes in the request.
    disk: safetensors files in `folder`. auto picks one and says why."""

    bucket_mb: int = number(512, 1)
    """Size of a bucket, MiB. The executor holds two: lower it if an update does not fit beside the model."""

    folder: str | None = path(None)
    """Where `sync: disk` writes. null: this machine's temporary folder, or for servers on other nodes a folder of the
    run's own. Servers on other nodes must see it under the same path."""

    adapters: str = choice("alone", "added", kind=LAST_BITS)
    """What SGLang's servers get of `learner.lora`. alone: the adapters, beside the model of the phase's start; updates
    are as small as they are, and servers multiply with them too. added: whole weights, as for the embedded engine."""

    quantization: str = choice("none", "fp8_block", "fp8_tensor", kind=SAMPLING)
    """Send linear layers in FP8 (e4m3) to the servers: a scale per 128 x 128 block, or per tensor, which SGLang cannot
    load into a running server. Halves the servers' weights; rollouts then differ from the learner's policy."""

    verify: VerifyConfig = field(default_factory=VerifyConfig)
    """What is checked after an update."""

    @property
    def bucket_bytes(self) -> int:
        """`bucket_mb` in bytes."""
        return self.bucket_mb << 20
