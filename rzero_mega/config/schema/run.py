"""Around the algorithm: where things run, how answers are graded, what is measured, watched and kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from rzero_mega.config.schema.endpoint import JudgeConfig
from rzero_mega.config.schema.metadata import (
    EVALUATION,
    EVALUATION_NAMED,
    FREE,
    GRADING,
    PathIf,
    choice,
    number,
    path,
    stating,
    value,
)
from rzero_mega.config.schema.training import SamplingConfig


@dataclass
class PlacementConfig:
    """The nodes of a job, and where learner and SGLang servers run on them.

    The learner takes the first `learner.processes` GPUs. The two roles' servers share GPUs and take turns.
    """

    nodes: int = number(1, 1, 10_000)
    """Nodes of a job. Must equal what Slurm gives it."""

    gpus_per_node: int = number(8, 1, 1_000)
    """GPUs of a node; without GPUs, places for processes."""

    servers: str = choice("colocated", "split")
    """colocated: servers on the learner's GPUs, giving memory back while it trains; nothing is idle, and both sides
    move memory. split: servers on the GPUs that the learner leaves, as `ahead` needs."""


@dataclass
class GradingConfig:
    """The pool of worker processes that decide whether two answers are equal where text and arithmetic do not."""

    workers: int = number(0, 0, 4_096, kind=FREE)
    """Processes at most. 0: one per processor that this process may use."""

    time_limit_s: float = number(2.0, 0.01, kind=GRADING)
    """Seconds of computing per pair; then its worker is killed, and the answers count as different."""

    memory_limit_mb: int = number(1024, 64, kind=GRADING)
    """Address space that a worker may take for a pair, MiB."""


@dataclass
class ProtocolConfig:
    """Over the protocols of benchmarks that state one, for small models and short evaluations. null: as stated."""

    samples: int | None = number(None, 2)
    """Sampled answers per problem where a protocol takes the mean over several."""

    max_new_tokens: int | None = number(None, 1)
    """Longest answer, tokens."""


@dataclass
class EvaluationConfig:
    """Phase 5: how well the Solver does, after every iteration, on problems that nobody trains on."""

    benchmarks: list[str] = field(default_factory=list, metadata=stating(EVALUATION_NAMED, path=PathIf.FILE))
    """Names of benchmarks, as `rzero-mega benchmarks` lists them, or paths: of .jsonl files whose lines have
    `question`, `answer` and maybe `level`, or of YAML definitions. NAME:N is a fixed part: N problems, or N per level
    of arithmetic. Empty: no evaluation."""

    data: str | None = path(None, FREE)
    """Folder with the data of the benchmarks, as `rzero-mega benchmarks fetch` writes it. Arithmetic needs none."""

    samples: int = number(1, 1, kind=EVALUATION)
    """Sampled answers per problem of a benchmark without a protocol of its own (arithmetic, .jsonl files), for mean
    pass@1 and the vote. More make both less noisy, at proportional cost."""

    sampling: SamplingConfig = field(default_factory=SamplingConfig, metadata=stating(EVALUATION))
    """How answers are sampled there; greedy pass@1 is measured with temperature 0 besides."""

    protocol: ProtocolConfig = field(default_factory=ProtocolConfig, metadata=stating(EVALUATION))
    """What is asked otherwise than the benchmarks' own protocols say. Figures so measured are not those of papers."""

    base_model: bool = value(True, FREE)
    """Evaluate the base model first, as iteration 0, for gains to be told against."""

    judge: JudgeConfig = field(default_factory=JudgeConfig, metadata=stating(EVALUATION))
    """A model that looks again at what the rules called wrong."""


@dataclass
class PrometheusConfig:
    """The run's newest figures for Prometheus, served by its first process while it lives. Needs extra `prometheus`."""

    port: int | None = number(None, 1, 65535)
    """http://HOST:PORT/metrics. null: nothing listens."""

    host: str = "127.0.0.1"
    """The address to listen on. Who reaches another one than loopback reads the run's curves without a password."""


@dataclass
class TrackingConfig:
    """Weights & Biases, and what the report shows."""

    wandb: str = choice("auto", "online", "offline", "disabled")
    """auto: what WANDB_MODE says, else online where a key is set and offline elsewhere. Jobs without internet write
    offline, and `rzero-mega sync` sends it."""

    project: str = "rzero_mega"
    """W&B project."""

    entity: str | None = None
    """W&B team or user. null: the key's default."""

    timeout_s: float = number(30.0, 1.0)
    """Seconds that a run waits for W&B at most: at its start, after a step, and at its end."""

    sample_questions: int = number(40, 0)
    """Questions that the report shows with their votes, over all iterations, and W&B for each of them."""

    prometheus: PrometheusConfig = field(default_factory=PrometheusConfig)
    """The same figures as curves of one's own."""


@dataclass
class RunConfig:
    """The run directory: the same directory is the same run, and the same command goes on with it."""

    root: str = path("runs")
    """Folder of the run directories; converted base models lie in its `.models`. On Slurm all nodes must see it."""

    name: str | None = None
    """Name of the run directory. null: recipe, seed and ablation, for instance nano-seed0-no_filter."""

    keep_models: int | None = number(None, 1)
    """Iterations whose models stay, counted from the newest; older ones are removed as soon as no phase that is left
    starts from them. null: all. A model of 8B parameters takes 16 GB, and an iteration leaves two."""

    minimum_free_mb: int = number(64, 0)
    """Free disk space, MiB, without which a run is not started."""
