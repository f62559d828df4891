"""The whole configuration, as dataclasses over OmegaConf.

Defaults are those of the paper (arXiv 2508.05004v4), and of the official code where the paper is silent. A field's
`metadata` holds what `validate.py` checks: `choices`, `minimum`, `maximum`. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rzero_mega.config.presets import ablation_names

NO_ABLATION = "none"


def choice(default: str, *others: str) -> Any:
    """A string field that takes its default or one of `others`."""
    return field(default=default, metadata={"choices": (default, *others)})


def number(default: float | int | None, minimum: float | None = None, maximum: float | None = None) -> Any:
    """A numeric field with inclusive bounds."""
    return field(default=default, metadata={"minimum": minimum, "maximum": maximum})


@dataclass
class SamplingConfig:
    """How tokens are drawn. `top_k` 0 and `top_p` 1 switch the filters off; temperature 0 is greedy decoding."""

    temperature: float = number(1.0, 0.0)
    top_p: float = number(1.0, 0.0, 1.0)
    top_k: int = number(0, 0)
    max_new_tokens: int = number(4096, 1)


@dataclass
class ModelConfig:
    """The base model that both roles grow from.

    `path` is a folder in Hugging Face format, a hub name, `asset:NAME` for a model shipped with the package, or
    `gguf:PACKAGE` for a GGUF file inside an installed Python package.
    """

    path: str = "Qwen/Qwen3-8B-Base"
    revision: str | None = None


@dataclass
class PromptsConfig:
    """Prompt files, one per role: the name of a shipped one (config/prompts) or the path of a YAML file."""

    challenger: str = "math_challenger"
    solver: str = "math_solver"


@dataclass
class AdvantageConfig:
    """Group-relative advantages, (r - mean) / (std + epsilon), over the rollouts of one prompt instance."""

    ddof: int = number(1, 0, 1)
    epsilon: float = number(1e-6, 0.0)
    drop_zero_variance: bool = False


@dataclass
class GrpoConfig:
    """The policy-gradient loss. `sequences_per_update` splits a step's rollouts into optimizer updates, in order."""

    sequences_per_update: int = number(128, 1)
    clip_low: float = number(0.2, 0.0)
    clip_high: float = number(0.3, 0.0)
    dual_clip: float | None = number(3.0, 1.0)
    kl_coefficient: float = number(1e-2, 0.0)
    kl_clamp: float = number(10.0, 0.0)
    loss_aggregation: str = choice("token_mean", "sequence_mean", "micro_batch_token_mean", "constant")
    sequences_per_micro_batch: int = number(4, 1)
    importance_cap: float | None = number(2.0, 0.0)
    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)


@dataclass
class OptimizerConfig:
    """AdamW with a constant learning rate; fresh at the start of every phase."""

    learning_rate: float = number(1e-6, 0.0)
    weight_decay: float = number(1e-2, 0.0)
    beta1: float = number(0.9, 0.0, 1.0)
    beta2: float = number(0.999, 0.0, 1.0)
    epsilon: float = number(1e-8, 0.0)
    clip_gradient_norm: float = number(1.0, 0.0)


@dataclass
class TrainingConfig:
    """One role's GRPO phase. `use_step` is the step whose weights the phase hands on; null takes the last.

    With `ahead` 1 a step's rollouts are drawn by the weights before the last step, on SGLang's servers while that step
    trains; `grpo.importance_cap` then corrects for the difference.
    """

    steps: int = number(5, 0)
    use_step: int | None = number(None, 1)
    prompts_per_step: int = number(512, 1)
    rollouts_per_prompt: int = number(4, 2)
    ahead: int = number(0, 0, 1)
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(top_p=0.99))
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass
class RepetitionConfig:
    """The repetition penalty: weight * |cluster| / |batch| over clusters of similar questions of one step.

    `symmetric` makes BLEU the mean of both directions; the official code takes the one with the earlier question as
    hypothesis and mirrors it. `tokenizer: character` is for questions of one or two words, which BLEU-4 over words
    does not find alike even when they are identical. `mask_numbers` compares questions with one sign for every number:
    a short question with other numbers is far from its model in BLEU and pays nothing otherwise.
    """

    weight: float = number(1.0, 0.0)
    distance_threshold: float = number(0.5, 0.0, 1.0)
    symmetric: bool = True
    tokenizer: str = choice("whitespace", "character")
    mask_numbers: bool = False


@dataclass
class ChallengerRewardConfig:
    """`tent` is 1 - 2|p - 1/2| (paper), `min` is min(p, 1 - p) (official code).

    Well-formed means a question block; with `require_boxed` an own answer in a box too. Phase 2 has its own
    `questions.require_boxed`. With `unanswered_counts_as_doubt` p is a share of all samples, as in paper and code: the
    Solver counts as unsure of a question that it answers alike whenever it is not cut off. Without, only answers other
    than the majority's are doubt: min(count, answered - count) of the samples takes the place of min(p, 1 - p).
    """

    uncertainty: str = choice("tent", "min")
    unanswered_counts_as_doubt: bool = True
    clamp_at_zero: bool = True
    require_boxed: bool = False
    malformed: float = 0.0
    malformed_pays_repetition: bool = False
    repetition: RepetitionConfig = field(default_factory=RepetitionConfig)


@dataclass
class VotesConfig:
    """How often the frozen Solver answers a question, and what a sample without an answer counts as.

    `unanswered: denominator` counts it in the denominator and never as a vote; `answer` lets the string "None" win
    votes, as the official code does.
    """

    samples: int = number(10, 1)
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(top_k=40))
    unanswered: str = choice("denominator", "answer")


@dataclass
class ChallengerConfig:
    """Phase 1: the Challenger learns against the frozen Solver.

    Without `train` there is no such phase, and the base model writes the questions of every iteration.
    """

    train: bool = True
    training: TrainingConfig = field(default_factory=TrainingConfig)
    votes: VotesConfig = field(default_factory=VotesConfig)
    reward: ChallengerRewardConfig = field(default_factory=ChallengerRewardConfig)


@dataclass
class QuestionsConfig:
    """Phase 2: the Challenger writes the questions of this iteration."""

    count: int = number(8000, 1)
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(top_p=0.95))
    require_boxed: bool = True
    per_part: int = number(1000, 1)


@dataclass
class NearDuplicatesConfig:
    """Questions whose n-grams of `shingle` tokens overlap (Jaccard) with an earlier question's by `threshold` or more.

    `drop` is for those of the same iteration, `drop_seen` for questions that the Solver was trained on in an earlier
    one. Both are counted in any case. Tokens are those of `challenger.reward.repetition.tokenizer`.
    """

    drop: bool = False
    drop_seen: bool = False
    threshold: float = number(0.8, 0.1, 1.0)
    shingle: int = number(3, 1)


@dataclass
class CurationConfig:
    """What is kept of the labelled questions. The band of p is inclusive at both ends.

    `maximum_per_template` bounds the kept questions that are the same but for their numbers (null: no bound).
    """

    low: float = number(0.25, 0.0, 1.0)
    high: float = number(0.75, 0.0, 1.0)
    drop_duplicates: bool = True
    drop_held_out: bool = True
    near_duplicates: NearDuplicatesConfig = field(default_factory=NearDuplicatesConfig)
    maximum_per_template: int | None = number(None, 1)
    drop_questions_containing: list[str] = field(default_factory=list)
    drop_answers: list[str] = field(default_factory=list)
    drop_answers_containing: list[str] = field(default_factory=list)
    minimum_kept: int = number(1, 0)


@dataclass
class LabelsConfig:
    """Phase 3: the frozen Solver's majority becomes the label."""

    votes: VotesConfig = field(default_factory=VotesConfig)
    curation: CurationConfig = field(default_factory=CurationConfig)
    questions_per_part: int = number(1000, 1)


@dataclass
class ChecksConfig:
    """Questions with a flaw that a Challenger could learn to earn by: rewarded as malformed, and kept from the Solver.

    Neither paper nor official code has these, so all are off by default; the preset `hardened` has them on. Whatever is
    off is counted all the same, at the bounds given here. The checks stand in `rzero_mega/coevolution/checks/`.
    `minimum_majority` is the share of all samples that the majority needs, `maximum_unanswered` the share of samples
    that may go without an answer; the other words name files.
    """

    several_questions: bool = False
    no_question: bool = False
    answer_in_question: bool = False
    random_choice: bool = False
    too_long: bool = False
    mostly_unanswered: bool = False
    no_answer: bool = False
    no_majority: bool = False
    maximum_question_chars: int = number(2000, 1)
    maximum_unanswered: float = number(0.5, 0.0, 1.0)
    minimum_majority: float = number(0.25, 0.0, 1.0)


@dataclass
class SolverRewardConfig:
    """accuracy_weight * [answer equals label] + format_weight * [response matches format_pattern]."""

    accuracy_weight: float = 1.0
    format_weight: float = 0.0
    format_pattern: str = r"<think>.*</think>.*\\boxed\{.*\}"


@dataclass
class SolverConfig:
    """Phase 4: the Solver learns from the curated questions."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=15, rollouts_per_prompt=5))
    reward: SolverRewardConfig = field(default_factory=SolverRewardConfig)


@dataclass
class LayoutConfig:
    """Parallel layout of the learner; data parallelism is what the number of processes leaves."""

    tp: int = number(1, 1)
    pp: int = number(1, 1)
    vpp: int = number(1, 1)
    cp: int = number(1, 1)
    ep: int = number(1, 1)
    etp: int | None = number(None, 1)
    sequence_parallel: bool = False


@dataclass
class Fp8Config:
    """Transformer Engine's FP8 settings, passed through to Megatron-core; `format: none` trains in `learner.dtype`."""

    format: str = choice("none", "e4m3", "hybrid")
    recipe: str = choice("delayed", "tensorwise", "blockwise", "mxfp8")
    parameters: bool = False
    margin: int = number(0, 0)
    amax_history_length: int = number(1, 1)
    amax_algorithm: str = choice("most_recent", "max")
    weight_gradient: bool = True
    first_last_layers_bf16: bool = False


@dataclass
class CheckpointConfig:
    """Checkpoints of a training phase: one after each `every` steps, and one after the last.

    With `asynchronous` training goes on while a checkpoint is written, out of a copy in host memory as large as the
    process's part of it. The `keep` newest are kept, and those of each `keep_every`-th step (null: of none) besides.
    They go when the phase is finished, unless `keep_finished` says that they stay, in the phase's `checkpoints/`.
    """

    every: int = number(1, 1)
    asynchronous: bool = True
    keep: int = number(1, 1)
    keep_every: int | None = number(None, 1)
    keep_finished: bool = False


@dataclass
class GuardConfig:
    """What becomes of an update whose loss or gradient is not finite, or which is past a maximum (null: none).

    `stop` ends the run; `skip` leaves weights and moments as they are and goes on, at most `maximum_skips` times per
    phase. `maximum_gradient_norm` is for the norm before clipping, `maximum_logprob_difference` for the mean difference
    between learner and rollout over the update's response tokens. The batch is saved for `rzero-mega replay`, together
    with the model unless `save_weights` is false.
    """

    non_finite: str = choice("stop", "skip")
    maximum_skips: int = number(3, 1)
    maximum_gradient_norm: float | None = number(None, 0.0)
    maximum_logprob_difference: float | None = number(None, 0.0)
    save_weights: bool = True


@dataclass
class LearnerConfig:
    """The Megatron-core learner. `tokens_per_micro_batch` bounds the packed tokens of one forward pass.

    `overlap_gradient_reduction` sums gradients over data-parallel ranks while the last backward pass runs. `offload`
    moves what it names to host memory while rollouts are drawn: `optimizer` its state and the gradients, `all` the
    weights too.
    """

    processes: int = number(1, 1)
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    dtype: str = choice("bfloat16", "float32")
    tokens_per_micro_batch: int = number(16384, 1)
    recompute: str = choice("none", "selective", "full")
    overlap_gradient_reduction: bool = True
    offload: str = choice("none", "optimizer", "all")
    fp8: Fp8Config = field(default_factory=Fp8Config)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)


@dataclass
class SglangConfig:
    """The SGLang servers of one role: `replicas` servers, each spread over `tp` processes.

    Servers listen on `host`. Where that is not the loopback interface, the environment variable `api_key_env` must
    hold a key. `max_total_tokens` bounds the KV cache (null leaves it to the server, except on CPUs, which need a
    number); `context_length` null takes the model's. `extra_arguments` go to `sglang.launch_server` as they are.
    """

    replicas: int = number(1, 1)
    tp: int = number(1, 1)
    host: str = "127.0.0.1"
    api_key_env: str = "RZERO_SGLANG_API_KEY"
    max_running_requests: int = number(256, 1)
    max_total_tokens: int | None = number(None, 1)
    context_length: int | None = number(None, 1)
    samples_per_request: int = number(64, 1)
    start_timeout_s: float = number(900.0, 1.0)
    request_timeout_s: float = number(3600.0, 1.0)
    attempts: int = number(3, 1)
    extra_arguments: list[str] = field(default_factory=list)


@dataclass
class RolloutConfig:
    """The engine that speaks for the policies. `batch_sequences` bounds the sequences decoded together per process."""

    engine: str = choice("embedded", "sglang")
    dtype: str = choice("bfloat16", "float32")
    batch_sequences: int = number(256, 1)
    sglang: SglangConfig = field(default_factory=SglangConfig)


@dataclass
class VerifyConfig:
    """What is checked after weights have gone to a server; 0 switches a check off.

    Every `checksums_every` updates the server's checksum of each tensor is compared with what was sent. Every
    `probe_every` updates the log-probabilities of `probe_sequences` rollouts are compared between learner and server:
    their mean absolute difference may reach `probe_tolerance` (null takes the one of the less precise dtype).
    """

    checksums_every: int = number(1, 0)
    probe_every: int = number(1, 0)
    probe_sequences: int = number(4, 1)
    probe_tolerance: float | None = number(None, 0.0)


@dataclass
class WeightsConfig:
    """How weights go from the learner to the rollout engine.

    `executor: reference` gathers tensor by tensor, for debugging; `fast` goes bucket by bucket and holds two buckets of
    `bucket_mb` at most. `sync` is the transport to SGLang's servers. `folder` is where the disk transport writes (null:
    the machine's temporary folder). `quantization` turns linear layers into FP8 on the way.
    """

    executor: str = choice("fast", "reference")
    sync: str = choice("auto", "disk", "collective", "tensor")
    bucket_mb: int = number(512, 1)
    folder: str | None = None
    quantization: str = choice("none", "fp8_block", "fp8_tensor")
    verify: VerifyConfig = field(default_factory=VerifyConfig)

    @property
    def bucket_bytes(self) -> int:
        """`bucket_mb` in bytes."""
        return self.bucket_mb << 20


@dataclass
class GradingConfig:
    """The pool of processes that decide symbolic equality. `workers` 0 takes one per processor."""

    workers: int = number(0, 0)
    time_limit_s: float = number(2.0, 0.01)
    memory_limit_mb: int = number(1024, 64)


@dataclass
class EvaluationConfig:
    """Evaluation after every iteration: `samples` per problem at `sampling` for mean pass@1, and greedy pass@1."""

    benchmarks: list[str] = field(default_factory=list)
    samples: int = number(1, 1)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    base_model: bool = True


@dataclass
class TrackingConfig:
    """`auto` is online where a W&B key is set and offline elsewhere."""

    wandb: str = choice("auto", "online", "offline", "disabled")
    project: str = "rzero_mega"
    entity: str | None = None
    sample_questions: int = number(40, 0)


@dataclass
class RunConfig:
    """Where the run directory lies. `name` null takes the recipe's name and the seed."""

    root: str = "runs"
    name: str | None = None
    minimum_free_mb: int = number(64, 0)


@dataclass
class PlacementConfig:
    """The nodes of a job, and where learner and SGLang servers run on them.

    A node has `gpus_per_node` GPUs (without GPUs: places for processes). The learner takes the first
    `learner.processes` of them. `colocated` servers share the learner's GPUs and give memory back while it trains;
    `split` servers have the GPUs that the learner leaves. In both cases the two roles' servers share GPUs in turns.
    """

    nodes: int = number(1, 1)
    gpus_per_node: int = number(8, 1)
    servers: str = choice("colocated", "split")


@dataclass
class Config:
    """Everything that decides a run."""

    recipe: str = "custom"
    seed: int = number(0, 0)
    iterations: int = number(3, 1)
    ablation: str = choice(NO_ABLATION, *ablation_names())
    model: ModelConfig = field(default_factory=ModelConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    challenger: ChallengerConfig = field(default_factory=ChallengerConfig)
    questions: QuestionsConfig = field(default_factory=QuestionsConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    checks: ChecksConfig = field(default_factory=ChecksConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    placement: PlacementConfig = field(default_factory=PlacementConfig)
    grading: GradingConfig = field(default_factory=GradingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    run: RunConfig = field(default_factory=RunConfig)
