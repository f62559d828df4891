"""A role's GRPO phase: how rollouts are sampled, what the loss is, and how the optimizer steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from rzero_mega.config.schema.metadata import Fixed, choice, number


@dataclass
class SamplingConfig:
    """How tokens are drawn from the model's distribution."""

    temperature: float = number(1.0, 0.0)
    """Divides the logits before sampling. 0 is greedy decoding. In training, what is drawn is the policy at this
    temperature, and the loss takes all its log-probabilities at it."""

    top_p: float = number(1.0, 0.0, 1.0)
    """Nucleus sampling: the fewest most probable tokens that reach this probability. 1 switches it off."""

    top_k: int = number(0, 0)
    """Sample among this many most probable tokens. 0 switches it off."""

    max_new_tokens: int = number(4096, 1)
    """Longest response, tokens. A response that reaches it is cut off and has no answer; raise it if many are
    (`truncated_rate`), and with it `learner.tokens_per_micro_batch`."""


@dataclass
class AdvantageConfig:
    """Group-relative advantages, (r - mean) / (std + epsilon), over the rollouts of one prompt (arXiv 2402.03300)."""

    scale: str = choice("std", "none")
    """What r - mean is divided by. std: the deviation of the group's rewards, so that all groups weigh alike. none:
    nothing (Dr. GRPO, arXiv 2503.20783), so that questions nearly always or never solved weigh less; with
    `loss_aggregation: constant` it is that paper's loss. Advantages are then in units of the reward."""

    ddof: int = number(1, 0, 1)
    """Delta degrees of freedom of std, where `scale` has one: 1 is the sample deviation, 0 that of the population."""

    epsilon: float = number(1e-6, 0.0)
    """Added to std, in units of the reward. Bounds the advantages of groups whose rewards hardly differ."""

    drop_zero_variance: bool = False
    """Leave out of the loss the groups whose rewards are all equal. Their advantages are 0 either way; left in, their
    tokens count in the mean and in KL."""


@dataclass
class GrpoConfig:
    """The policy-gradient loss of one optimizer update."""

    sequences_per_update: int = number(128, 1)
    """Rollouts per optimizer update. A step's rollouts are split into updates in order, and it must divide
    `prompts_per_step` x `rollouts_per_prompt`. Fewer give more updates per step, each further off-policy."""

    policy_loss: str = choice("clipped", "gspo", "cispo")
    """Which ratio is clipped, and what that does. clipped: each token's; one that is out of bounds gets no gradient
    (PPO, arXiv 1707.06347). gspo: a sequence's, the geometric mean of its tokens' (arXiv 2507.18071, which has
    `clip_low` 3e-4 and `clip_high` 4e-4); needs `loss_aggregation: sequence_mean`. cispo: each token's, as a weight
    of its log-probability, and every token keeps a gradient (arXiv 2506.13585); needs `dual_clip: null`, and is used
    with a high bound alone (`clip_low` 1, `clip_high` 4). With one update per step every ratio is 1."""

    clip_low: float = number(0.2, 0.0)
    """The probability ratio is clipped below at 1 - clip_low (PPO, arXiv 1707.06347)."""

    clip_high: float = number(0.3, 0.0)
    """The probability ratio is clipped above at 1 + clip_high. Wider than `clip_low`, it leaves improbable tokens room
    to grow (DAPO, arXiv 2503.14476); lower it if entropy rises without bound."""

    dual_clip: float | None = number(3.0, 1.0)
    """Bounds the loss of tokens with a negative advantage at this many times |advantage| (arXiv 1912.09729). null: no
    bound."""

    kl_coefficient: float = number(1e-2, 0.0)
    """Weight of the KL divergence to the model at the start of the phase. 0 saves the reference's forward pass."""

    kl_base_coefficient: float = number(0.0, 0.0)
    """Weight of the KL divergence to the base model, besides that to the start of the phase, which moves on with every
    iteration. Holds on to what the base knows (`kl_base` is what was lost of it, nats per token). Takes a forward pass,
    from iteration 2 on, and a copy of the weights in host memory. 0: off."""

    kl_clamp: float = number(10.0, 0.0)
    """Largest KL estimate of one token (k3), nats: one improbable token cannot dominate an update."""

    loss_aggregation: str = choice("token_mean", "sequence_mean", "micro_batch_token_mean", "constant")
    """How token losses become the update's. token_mean: mean over its tokens. sequence_mean: mean over sequences of
    their token means (GRPO). micro_batch_token_mean: token means of runs of sequences, averaged (official R-Zero).
    constant: sum over sequences x longest response (Dr. GRPO, arXiv 2503.20783)."""

    sequences_per_micro_batch: int = number(4, 1)
    """Sequences per run in `loss_aggregation: micro_batch_token_mean`; no other rule looks at it. It is a definition of
    the loss: memory is bounded by `learner.tokens_per_micro_batch`."""

    importance_cap: float | None = number(2.0, 0.0)
    """Truncated importance sampling: each token's loss is weighted by min(p_learner / p_rollout, cap), which corrects
    for an engine whose probabilities differ from the learner's. null: no correction; `ahead` needs a number."""

    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)
    """How rewards become advantages."""


@dataclass
class SftConfig:
    """The loss of supervised fine-tuning: cross entropy, mean over the tokens of an update's completions."""

    sequences_per_update: int = number(64, 1)
    """Examples per optimizer update. A step makes one update, and the steps go over the data in epochs."""


@dataclass
class PairwiseConfig:
    """The loss of a Critic: -log σ(score of the better answer - score of the worse one), mean over an update's pairs
    (Bradley-Terry)."""

    pairs_per_update: int = number(64, 1)
    """Pairs per optimizer update, in equal shares of kinds and of longer and shorter better answers. A step makes one
    update; the pairs of each such group come in epochs of their own."""

    @property
    def sequences_per_update(self) -> int:
        """Two answers of each pair."""
        return 2 * self.pairs_per_update


LossConfig = GrpoConfig | SftConfig | PairwiseConfig


@dataclass
class OptimizerConfig:
    """AdamW, made afresh at the start of every phase."""

    learning_rate: float = number(1e-6, 0.0)
    """Constant over the phase: no warm-up, no decay. Models of millions of parameters take a hundred times as much."""

    decay_per_iteration: float = number(1.0, 0.0, 1.0)
    """The rate of iteration i is `learning_rate` x this^(i - 1): later iterations, whose labels are worse, change the
    model less. 1: the same rate in all."""

    weight_decay: float = number(1e-2, 0.0)
    """Decoupled weight decay: weights shrink by learning_rate x weight_decay per update."""

    beta1: float = number(0.9, 0.0, 1.0)
    """Decay of the gradient's running mean, per update."""

    beta2: float = number(0.999, 0.0, 1.0)
    """Decay of the squared gradient's running mean, per update. A phase has tens to hundreds of updates: a lower value
    forgets their start sooner."""

    epsilon: float = number(1e-8, 0.0)
    """Added to the root of the squared gradient's running mean. Raise it if single updates blow up."""

    clip_gradient_norm: float = number(1.0, 0.0)
    """Largest L2 norm of an update's gradient over all parameters; larger gradients are scaled down. 0: no clipping."""

    def in_iteration(self, iteration: int) -> OptimizerConfig:
        """The settings with the learning rate of an iteration, counted from 1."""
        return replace(self, learning_rate=self.learning_rate * self.decay_per_iteration ** (iteration - 1))


@dataclass
class AverageConfig:
    """What a phase hands on: (1 - share) x the weights that it ends with + share x those of an anchor.

    Rollouts are drawn from, and updates made of, the policy itself. Keeps what training forgot, at the price of a part
    of what it taught (WiSE-FT, arXiv 2109.01903; WARP, arXiv 2406.16768).
    """

    share: float = number(0.0, 0.0, 1.0)
    """Weight of the anchor. 0: the weights that the phase ends with."""

    anchor: str = choice("base", "start")
    """base: the base model, however far the phase's own model is from it. start: that own model as it was before the
    phase, so that what iterations bring adds up more slowly."""


@dataclass
class TrainingConfig:
    """One role's GRPO phase. A step draws rollouts, rewards them, updates the policy and sends the weights on."""

    steps: int = number(5, 0, fixed=Fixed.STEPS)
    """Steps of the phase. 0 hands the model on as it came."""

    use_step: int | None = number(None, 1, fixed=Fixed.CHECKPOINT)
    """The step after which the weights are those that the phase hands on; training goes on to `steps` all the same, as
    in the official code. null: the last step."""

    prompts_per_step: int = number(512, 1)
    """Groups of rollouts per step: questions for the Solver, and for the Challenger instances of its one prompt."""

    rollouts_per_prompt: int = number(4, 2)
    """Responses per prompt: the group over which advantages are taken. More make them less noisy, at proportional
    cost."""

    ahead: int = number(0, 0, 1)
    """1 draws the next step's rollouts on SGLang's servers while a step trains: faster, by weights that are one step
    old, for which `grpo.importance_cap` corrects. Takes `placement.servers: split` and `learner.offload: none`."""

    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(top_p=0.99))
    """How rollouts are sampled."""

    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    """The loss."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """AdamW's settings."""

    average: AverageConfig = field(default_factory=AverageConfig)
    """What becomes of the weights at the end of the phase."""

    @property
    def used_step(self) -> int:
        """The step after which the weights are those that the phase hands on."""
        return self.steps if self.use_step is None else self.use_step


@dataclass
class WarmUpConfig:
    """Supervised fine-tuning on written verdicts before the GRPO steps of a role that gives them: a base that writes no
    verdict never earns anything."""

    steps: int = number(0, 0)
    """Updates of cross entropy. 0: none."""

    iterations: int = number(1, 1)
    """Warm up in the first so many iterations; those who come later have learnt to write verdicts."""

    sft: SftConfig = field(default_factory=SftConfig)
    """The loss."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """AdamW's settings."""

    def is_due(self, iteration: int) -> bool:
        """Whether there is one in the iteration."""
        return self.steps > 0 and iteration <= self.iterations
