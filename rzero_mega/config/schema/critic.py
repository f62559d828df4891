"""The third role of a domain whose answers have scores: a Critic, which learns which of two answers is better."""

from __future__ import annotations

from dataclasses import dataclass, field

from rzero_mega.config.schema.metadata import IDENTITY, Change, Fixed, Kind, Switch, choice, number, of, stating, value
from rzero_mega.config.schema.training import OptimizerConfig, PairwiseConfig, TrainingConfig, WarmUpConfig
from rzero_mega.phase_name import PhaseName

SCALAR, GENERATIVE = "scalar", "generative"
"""The forms of a Critic: a head that makes a number of an answer, or a policy that writes which of two is better."""

SCALAR_FORM, GENERATIVE_FORM = Switch("critic.form", SCALAR), Switch("critic.form", GENERATIVE)

SCORED: Kind = of(PhaseName.CHALLENGER, PhaseName.LABELS, PhaseName.SOLVER)
COMPARED: Kind = of(PhaseName.CHALLENGER, PhaseName.LABELS, PhaseName.CRITIC, PhaseName.SOLVER)
OF_SCALAR = Kind(Change.PHASE, (PhaseName.CRITIC,), switch=SCALAR_FORM)


@dataclass
class CriticGateConfig:
    """Whether a Critic scores, and which kinds of pairs the next one is trained on: by its order of pairs that it was
    not shown.

    Both are decided when it has been trained, and stand in the manifest of its phase.
    """

    minimum: float = number(0.6, 0.0, 1.0)
    """Least share of some kind's pairs that it orders as they are known to be. Without a kind that reaches it the
    domain's own score stands in for the Critic's, and the next one is trained on all kinds. 0.5 is a coin."""

    close_below: float = number(0.0, 0.0, 1.0)
    """Share below which a kind on which it was trained isn't trained on in the next iteration; it is again in the one
    after. 0: none. In the world of rewriting what a Critic is not shown for an iteration is what it is exploited by."""

    share: float = number(0.25, 0.0, 0.9)
    """Share of all questions, by a hash of their text, that no Critic is trained on: it is measured on them."""

    pairs: int = number(200, 1)
    """Most pairs of a kind that it is measured on. 200 tell a share to about 7 points."""


@dataclass
class ComparingConfig:
    """A generative Critic: the base reads a question and two answers, and writes which is better, in both orders.

    An answer's score is the share of its comparisons that it wins; one whose verdicts differ, or can't be read, is half
    won. Verdicts are greedy, and drawn by servers: by the Challenger's in labels and the Solver's training, by the
    Solver's, which take the Solver's weights and the Critic's in turn, in the Challenger's. None of this has been run
    with a model that reads language."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=10, rollouts_per_prompt=8))
    """Steps, rollouts, loss and optimizer. A step's prompts are pairs of known order, each in both orders; a rollout
    earns 1 if its verdict is the better answer, else 0."""

    warm_up: WarmUpConfig = field(default_factory=WarmUpConfig)
    """Before the first step, on as many pairs as its steps take, each in both orders."""

    opponents: int = number(2, 2, kind=COMPARED, fixed=Fixed.PARTS)
    """Other answers to the same question that an answer is compared with, if there are as many: as many before it as
    after it in a ring whose order is by a hash. Even. A score of n opponents has 2 n + 1 values, and takes n verdicts
    an answer."""

    max_new_tokens: int = number(1024, 1, kind=COMPARED, fixed=Fixed.PARTS)
    """Longest verdict, tokens; a longer one can't be read."""


@dataclass
class CriticConfig:
    """A Critic that is trained after the labels of an iteration, scores its Solver's answers, and those of the next
    Challenger and labels (J-Zero, arXiv 2608.26582). Nothing that only the domain knows goes into it: it learns from
    pairs whose order is known in advance."""

    train: bool = value(False, IDENTITY)
    """Whether there is one. false: nothing of this section is looked at."""

    form: str = choice(SCALAR, GENERATIVE, kind=IDENTITY)
    """scalar: the base model with a head that makes one number of a question and its answer. generative: the base model
    as a policy that reads two answers to a question and writes which is better (`comparing`). Takes a domain that says
    how verdicts are read (Comparison)."""

    steps: int = number(8, 0, kind=OF_SCALAR, fixed=Fixed.STEPS)
    """Updates of a scalar Critic in an iteration. 0 hands it on as it came."""

    frozen_after: int | None = number(None, 1, kind=IDENTITY)
    """Iteration after which none is trained: its Critic scores in all later ones, and isn't measured again. null: every
    iteration trains one."""

    loss: PairwiseConfig = field(default_factory=PairwiseConfig, metadata=stating(OF_SCALAR))
    """The loss of a scalar Critic."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig, metadata=stating(OF_SCALAR))
    """AdamW's settings for a scalar Critic."""

    comparing: ComparingConfig = field(
        default_factory=ComparingConfig, metadata=stating(of(PhaseName.CRITIC), switch=GENERATIVE_FORM)
    )
    """How a generative Critic is trained, and compares."""

    rival_answers: int = number(0, 0)
    """The base model's answers to each question, from iteration 2 on: the Solver's answers are to be better than these
    (the kind solver_over_base). 0: none, and no pairs of that kind, which is the wrong way round as soon as the Solver
    is worse than the base."""

    recombined_answers: int = number(0, 0)
    """Answers to each question that are put together from as many of the Solver's to each of its parts, which it is
    asked one by one: they are to be better than those that it gives at once (the kind recombined_over_one_shot). Takes
    a domain that says how. 0: none, and no pairs of that kind."""

    gate: CriticGateConfig = field(default_factory=CriticGateConfig)
    """What is good enough."""

    weight: float = number(1.0, 0.0, 1.0, kind=SCORED)
    """Share of what the Critic says, σ(its score) or the share of won comparisons, in what an answer is rewarded by;
    the rest is the domain's own score."""

    remove_length: bool = value(False, SCORED)
    """Subtract from a score what the length of the answer predicts: the slope, over answers to one question, that was
    measured after the Critic's training. For a scalar Critic alone: a share has ends that it would be pushed past."""

    fixed_answers: int = number(64, 0)
    """Answers of iteration 1 that the first Critic and every later one score, to tell how far they have drifted apart:
    for a scalar one the first to each question; for a generative one all different ones to the first questions, whose
    ranks alone are held against each other, since shares of won comparisons are one half on average. 0: none."""

    @property
    def scalar(self) -> bool:
        """Whether there is one that scores by the learner's forward pass."""
        return self.train and self.form == SCALAR

    @property
    def generative(self) -> bool:
        """Whether there is one that writes verdicts."""
        return self.train and self.form == GENERATIVE

    @property
    def phase_steps(self) -> int:
        """Steps of its phase."""
        return self.steps if self.form == SCALAR else self.comparing.training.steps
