"""The Megatron-core learner: processes and layout, precision, memory, checkpoints, and what it refuses to apply."""

from __future__ import annotations

from dataclasses import dataclass, field

from rzero_mega.config.schema.metadata import FREE, LAST_BITS, TRAINING, Fixed, choice, number, stating, value


@dataclass
class LayoutConfig:
    """How one copy of the model is spread over the learner's processes; data parallelism is what they leave.

    `rzero-mega plan` lists the layouts that fit, fastest first. Loss, gradient norm and weights do not depend on it.
    """

    tp: int = number(1, 1)
    """Tensor parallelism: ranks over which the matrices of a layer are cut. Keep them inside a node; first remedy for
    weights and activations that do not fit."""

    pp: int = number(1, 1)
    """Pipeline parallelism: stages that the layers are dealt to, at the price of a bubble. For models that a node's
    GPUs do not hold."""

    vpp: int = number(1, 1)
    """Chunks of layers per pipeline stage that take turns (interleaved pipeline). More shrink the bubble and send more
    often; 1 is no interleaving, and what `pp: 1` needs."""

    cp: int = number(1, 1)
    """Context parallelism: ranks over which every sequence is cut. For long sequences whose activations do not fit."""

    ep: int = number(1, 1)
    """Expert parallelism: ranks over which the experts of a mixture are dealt. `ep` x `etp` divides tp x cp x dp."""

    etp: int | None = number(None, 1)
    """Expert tensor parallelism: ranks over which each expert is cut. null: as many as `tp`; 1 keeps small experts
    whole."""

    sequence_parallel: bool = False
    """Cut tokens over the tp ranks wherever no matrix is: activations take less memory. Needs `tp` above 1; mixtures
    of experts need it there."""


@dataclass
class Fp8Config:
    """Transformer Engine's FP8 training of linear layers, passed on to Megatron-core.

    GPUs and model sizes that a recipe rules out are refused by name. Needs the extra `gpu` and `learner.dtype:
    bfloat16`.
    """

    format: str = choice("none", "e4m3", "hybrid")
    """none: no FP8. e4m3: for everything. hybrid: e4m3 forward and e5m2 for gradients, which have the wider range."""

    recipe: str = choice("delayed", "tensorwise", "blockwise", "mxfp8")
    """How scales are found. delayed: per tensor, from earlier passes. tensorwise: per tensor, from the values
    themselves. blockwise: per 128 values, from Hopper on. mxfp8: per 32 values, from Blackwell on."""

    parameters: bool = False
    """Keep the weights themselves in FP8, not a bf16 copy beside it: less memory, same FP32 master weights."""

    margin: int = number(0, 0)
    """Scales leave 2^margin of headroom below the largest FP8 value. Recipe delayed."""

    amax_history_length: int = number(1, 1)
    """Forward passes over which the largest value is remembered. Recipe delayed; raise it if values overflow."""

    amax_algorithm: str = choice("most_recent", "max")
    """Which of the remembered largest values sets the scale: the last one, or the largest. Recipe delayed."""

    weight_gradient: bool = True
    """Compute the gradients of weights in FP8 too. false keeps them in higher precision, at some speed."""

    first_last_layers_bf16: bool = False
    """Leave the first and the last layer in bf16, where FP8 costs most accuracy. Not with the recipe delayed."""


ADAPTED = ("linear_qkv", "linear_proj", "linear_fc1", "linear_fc2")
"""Linear layers that can have adapters, by Megatron's names."""


@dataclass
class LoraConfig:
    """Low-rank adapters (LoRA, arXiv 2106.09685): a phase trains B A of W + (alpha / rank) B A, and W stays.

    Gradients, moments and checkpoints are those of the adapters alone, and no second model is held for the KL term to
    the start. The model that a phase hands on is a whole one, with the products added; the next phase begins new
    adapters on it. Dense models, not in FP8. Learning rates are those of adapters, larger than those of
    whole weights.
    """

    rank: int | None = number(None, 1)
    """Rows of A and columns of B, in each layer. null: no adapters, all weights train."""

    alpha: float = number(32.0, 0.0)
    """What B A is multiplied by is alpha / rank."""

    modules: list[str] = field(default_factory=lambda: list(ADAPTED))
    """Which linear layers have adapters: linear_qkv (queries, keys and values), linear_proj (attention's output),
    linear_fc1 (gate and up projection), linear_fc2 (down projection)."""


@dataclass
class CheckpointConfig:
    """Checkpoints of a training phase: as often as `share` or `every` says, and one after the last step.

    They load under any layout, and go when the phase is finished unless `keep_finished` says otherwise.
    """

    every: int | None = number(None, 1)
    """Steps between checkpoints, whatever they take: a kill costs at most this many. null: as `share` says."""

    share: float = number(0.03, 0.0, 1.0)
    """Without `every`, most of the time for which training waits for checkpoints, on average. The first step of a
    process has one, which shows what they take; then a step has one once the last one is on disk and took no more than
    this share of the time since it was begun. 1: each step whose predecessor's is on disk; 0: none further."""

    asynchronous: bool = True
    """Train on while a checkpoint is written, out of a copy in host memory as large as the process's part of it. false:
    wait, where host memory is short."""

    keep: int = number(1, 1)
    """Newest checkpoints kept. A second one is a way back if the disk may lose files."""

    keep_every: int | None = number(None, 1)
    """Keep the checkpoint of each step that this divides besides; without `every` these steps have one. null: of
    none."""

    keep_finished: bool = False
    """Leave a finished phase's checkpoints in its `checkpoints/`, for instance to convert them."""


@dataclass
class GuardConfig:
    """What becomes of an update whose loss or gradient is not finite, or which is past a maximum.

    Found before the optimizer changes anything. Batch and weights are kept for `rzero-mega replay`.
    """

    non_finite: str = choice("stop", "skip")
    """stop: end the run. skip: leave weights and moments as they are and go on, at most `maximum_skips` times."""

    maximum_skips: int = number(3, 1)
    """Most updates skipped in one phase; one more ends the run."""

    maximum_gradient_norm: float | None = number(None, 0.0)
    """An update with a larger L2 norm of the gradient, before clipping, fails. null: no bound."""

    maximum_logprob_difference: float | None = number(None, 0.0)
    """An update fails if the mean |log p_learner - log p_rollout| over its response tokens, in nats, is larger. null:
    no bound. `logprob_difference` of a healthy run says where to put it."""

    maximum_token_difference: float | None = number(None, 0.0)
    """An update fails if a single token's difference, in nats, is larger. null: no bound."""

    maximum_rollout_kl: float | None = number(None, 0.0)
    """An update fails if the KL divergence of rollout engine to learner, nats per token, is larger. null: no bound."""

    maximum_importance_outside: float | None = number(None, 0.0, 1.0)
    """An update fails if learner or rollout engine gives a larger share of its tokens more than twice the probability
    that the other one does. null: no bound."""

    save_weights: bool = value(True, FREE)
    """Keep the weights of a failed update beside its batch, so that replay needs nothing else. false saves the disk
    space of a model per failure."""


@dataclass
class WarnConfig:
    """From which difference between learner and rollout engine on a training step is warned of.

    Over all its response tokens; in the log, `status` and report. The run goes on: `guard` has what ends it.
    """

    logprob_difference: float | None = number(None, 0.0)
    """Mean |log p_learner - log p_rollout|, nats. null: what a probe may show (`weights.verify.probe_tolerance`), where
    the present weights drew all rollouts."""

    token_difference: float | None = number(None, 0.0)
    """The largest difference of a single token, nats. null: never."""

    rollout_kl: float | None = number(None, 0.0)
    """KL divergence of rollout engine to learner by the estimator k3, nats per token. null: never."""

    importance_outside: float | None = number(None, 0.0, 1.0)
    """Share of tokens to which one of the two gives more than twice the probability that the other does. null:
    never."""


@dataclass
class LearnerConfig:
    """The Megatron-core learner: one process per GPU, started by the command itself, or by torchrun or Slurm."""

    processes: int = number(1, 1, kind=LAST_BITS)
    """Ranks of the learner: the GPUs that train. A multiple of tp x pp x cp; the quotient is data parallelism."""

    layout: LayoutConfig = field(default_factory=LayoutConfig, metadata=stating(LAST_BITS))
    """How one copy of the model is spread over them."""

    dtype: str = choice("bfloat16", "float32", kind=TRAINING, fixed=Fixed.CHECKPOINT)
    """What weights and activations are computed in; moments, master weights and gradients are float32 either way.
    float32 is for CPUs and comparisons."""

    tokens_per_micro_batch: int = number(16384, 1, kind=LAST_BITS)
    """Most packed tokens of one forward pass. Activations grow with it, and so does speed, up to a point; it must hold
    the longest prompt with the longest response."""

    recompute: str = choice("none", "selective", "full", kind=LAST_BITS)
    """Activations computed again in the backward pass: none, those of attention's core (selective), or all of a layer,
    where memory is short. Selective is for CPUs and float32: Transformer Engine's attention keeps none of them."""

    fused_kernels: bool = value(True, LAST_BITS)
    """On GPUs, kernels that do several of a layer's operations at once, the output layer's too, and weight gradients
    summed in the products that they come from. false to debug."""

    deterministic: bool = value(False, LAST_BITS)
    """The same step on the same GPUs and layout gives the same weights to the last bit: kernels and reductions that sum
    in a fixed order, which are slower, and an error at an operation that has none. CPUs do so anyway."""

    overlap_gradient_reduction: bool = value(True, LAST_BITS)
    """Sum gradients over data-parallel ranks while the last backward pass runs, not after it. false to debug."""

    offload: str = choice("none", "optimizer", "all", kind=FREE)
    """What moves to host memory while rollouts are drawn: the optimizer's state and the gradients, or the weights too.
    For servers on the learner's GPUs (`placement.servers: colocated`)."""

    collective_timeout_s: float = number(1800.0, 1.0, kind=FREE)
    """Seconds that a rank waits in a collective for ranks that live. What rank 0 does alone (rollouts, grading, files)
    has no limit; Megatron-core rounds up to minutes."""

    hang_timeout_s: float = number(300.0, 1.0, kind=FREE)
    """Seconds after which a rank that does not move (stopped, its machine frozen, a call that never returns) ends the
    run, which goes on from its last checkpoint."""

    fp8: Fp8Config = field(default_factory=Fp8Config, metadata=stating(TRAINING, Fixed.CHECKPOINT))
    """Linear layers in FP8."""

    lora: LoraConfig = field(default_factory=LoraConfig, metadata=stating(TRAINING, Fixed.CHECKPOINT))
    """Adapters that train in the weights' place."""

    profile: list[int] = field(default_factory=list, metadata={**stating(FREE), "minimum": 1})
    """Steps of both training phases, from 1, of which each rank writes a trace by torch's profiler, rollouts and all:
    profile/ in the phase's folder. Such a step is slower, and its trace may take hundreds of MB."""

    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig, metadata=stating(FREE))
    """When checkpoints are written and which are kept."""

    warn: WarnConfig = field(default_factory=WarnConfig, metadata=stating(FREE))
    """Which differences between learner and rollout engine are remarked."""

    guard: GuardConfig = field(default_factory=GuardConfig, metadata=stating(TRAINING))
    """Which updates are not applied."""
