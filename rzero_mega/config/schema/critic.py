"""The third role of a domain whose answers have scores: a Critic, which learns which of two answers is better."""

from __future__ import annotations

from dataclasses import dataclass, field

from rzero_mega.config.schema.metadata import IDENTITY, Fixed, Kind, number, of, value
from rzero_mega.config.schema.training import OptimizerConfig, PairwiseConfig
from rzero_mega.phase_name import PhaseName

SCORED: Kind = of(PhaseName.CHALLENGER, PhaseName.LABELS, PhaseName.SOLVER)


@dataclass
class CriticGateConfig:
    """Which kinds of pairs are trained on, and whether a Critic scores: by its order of pairs that it was not shown.

    Both are decided when it has been trained, and stand in the manifest of its phase.
    """

    minimum: float = number(0.6, 0.0, 1.0)
    """Least share of a kind's pairs that it orders as they are known to be. A kind on which it was trained and that is
    below isn't trained on in the next iteration, and is again in the one after. Without any kind that reaches it the
    domain's own score stands in for the Critic's, and the next one is trained on all of them. 0.5 is a coin."""

    share: float = number(0.25, 0.0, 0.9)
    """Share of all questions, by a hash of their text, that no Critic is trained on: it is measured on them."""

    pairs: int = number(200, 1)
    """Most pairs of a kind that it is measured on. 200 tell a share to about 7 points."""


@dataclass
class CriticConfig:
    """A Critic that is trained after the labels of an iteration, scores its Solver's answers, and those of the next
    Challenger and labels (J-Zero, arXiv 2608.26582). It begins as the base model with a head that makes one number of
    a question and its answer. Nothing that only the domain knows goes into it: it learns from pairs whose order is
    known in advance."""

    train: bool = value(False, IDENTITY)
    """Whether there is one. false: nothing of this section is looked at."""

    steps: int = number(8, 0, fixed=Fixed.STEPS)
    """Updates in an iteration. 0 hands the Critic on as it came."""

    frozen_after: int | None = number(None, 1, kind=IDENTITY)
    """Iteration after which none is trained: its Critic scores in all later ones, and isn't measured again. null: every
    iteration trains one."""

    loss: PairwiseConfig = field(default_factory=PairwiseConfig)
    """The loss."""

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """AdamW's settings."""

    rival_answers: int = number(1, 0)
    """The base model's answers to each question, from iteration 2 on: the Solver's answers are to be better than these
    (the kind solver_over_base). 0: none, and no pairs of that kind."""

    recombined_answers: int = number(0, 0)
    """Answers to each question that are put together from as many of the Solver's to each of its parts, which it is
    asked one by one: they are to be better than those that it gives at once (the kind recombined_over_one_shot). Takes
    a domain that says how. 0: none, and no pairs of that kind."""

    gate: CriticGateConfig = field(default_factory=CriticGateConfig)
    """What is good enough."""

    weight: float = number(1.0, 0.0, 1.0, kind=SCORED)
    """Share of σ(the Critic's score) in what an answer is rewarded by; the rest is the domain's own score."""

    remove_length: bool = value(False, SCORED)
    """Subtract from a score what the length of the answer predicts: the slope, over answers to one question, that was
    measured after the Critic's training."""

    fixed_answers: int = number(64, 0)
    """Answers of iteration 1 that the first Critic and every later one score, to tell how far they have drifted apart.
    0: none."""
