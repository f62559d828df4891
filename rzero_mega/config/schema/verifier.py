"""The third role of a domain whose answers can be checked: a Verifier, which says whether an answer is right."""

from __future__ import annotations

from dataclasses import dataclass, field

from rzero_mega.config.schema.metadata import IDENTITY, Fixed, Kind, number, of, stating, value
from rzero_mega.config.schema.training import SamplingConfig, TrainingConfig, WarmUpConfig
from rzero_mega.phase_name import PhaseName

WEIGH, DROP = "weigh", "drop"
USES = (WEIGH, DROP)
"""What verdicts are used for in the labels phase."""

VERDICTS: Kind = of(PhaseName.LABELS, PhaseName.VERIFIER)
LABELS: Kind = of(PhaseName.LABELS)


@dataclass
class VerifierGateConfig:
    """Whether a Verifier may have a say in the next iteration's labels: by what it does on known pairs set aside.

    The decision is taken when it has been trained, and stands in the manifest of its phase.
    """

    minimum: float = number(0.65, 0.0, 1.0)
    """Least balanced accuracy, the mean of the shares of right answers accepted and of wrong ones not accepted. 0.65 is
    where a vote that is right in 63 of 100 cases gets right in 76 of those that pass. 0.5 is a coin."""

    share: float = number(0.25, 0.0, 0.9)
    """Share of all questions, by a hash of their text, that no Verifier is trained on: it is measured on them."""

    pairs: int = number(200, 1)
    """Most known pairs that are verified for it. 200 tell a balanced accuracy to about 5 points."""


@dataclass
class VerifierConfig:
    """A Verifier that is trained after the labels of an iteration, and has a say in those of the next (CoVerRL, arXiv
    2603.17775). No truth is used: it learns to accept the majority's answer to a question and not the rarest one."""

    train: bool = value(False, IDENTITY)
    """Whether there is one. false: nothing of this section is looked at."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=10, rollouts_per_prompt=8))
    """Steps, rollouts, loss and optimizer. Half of a step's prompts show an answer that counts as right, half one to
    the same question that counts as wrong."""

    least_votes: int = number(4, 2)
    """Answers that a question needs for its majority and its rarest answer to be trained on."""

    known_from: float = number(0.9, 0.5, 1.0)
    """Share of the votes from which on a majority counts as known to be right, in warm-up and gate."""

    warm_up: WarmUpConfig = field(default_factory=WarmUpConfig)
    """Before the first step, on known pairs: the majority's answer, which is right, and the same answer altered, which
    is wrong."""

    gate: VerifierGateConfig = field(default_factory=VerifierGateConfig)
    """Whether it takes part."""

    use: list[str] = field(default_factory=lambda: [DROP], metadata=stating(LABELS, Fixed.PARTS))
    """What its verdicts do to labels. drop: a question is dropped whose label is accepted less often than `drop_below`.
    weigh: of a question's answers the one wins that has most votes times the likelihood of its verdicts if it is right
    over that if it is wrong, by the rates that were measured. Both may be given; with none it is only trained."""

    drop_below: float = number(0.5, 0.0, 1.0, kind=LABELS)
    """Share of verdicts that have to accept a label."""

    samples: int = number(5, 1, kind=VERDICTS, fixed=Fixed.PARTS)
    """Verdicts on an answer."""

    sampling: SamplingConfig = field(
        default_factory=lambda: SamplingConfig(max_new_tokens=1024), metadata=stating(VERDICTS)
    )
    """How these are sampled."""
