"""By how much the learner's log-probabilities and the rollout engine's differed in the phases that trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rzero_mega.phase_name import TRAINING_PHASES, PhaseName
from rzero_mega.run import Manifest
from rzero_mega.tracking.summaries import NOTHING, percent, scalar

WARNED = "difference_warned"
"""In a step's row: whether one of its differences was past `learner.warn`."""


@dataclass(frozen=True)
class Difference:
    """Means over a phase's steps: |Δ log p| per token and of the step's worst token, in nats; KL; shares.

    `outside` is the share of tokens that one gave more than twice the probability that the other did, `warned` that of
    steps past `learner.warn`. None where the phase doesn't say.
    """

    mean: float
    largest: float | None
    rollout_kl: float | None
    outside: float | None
    warned: float | None

    def __str__(self) -> str:
        """For instance "0.01 nats per token, 1.4 of a step's worst; KL 0.0004; 0.21 % of tokens past a factor of 2"."""
        worst, kl = (NOTHING if value is None else f"{value:.3g}" for value in (self.largest, self.rollout_kl))
        return (
            f"{self.mean:.3g} nats per token, {worst} of a step's worst; KL {kl}; "
            f"{percent(self.outside, 2)} of tokens past a factor of 2"
        )


def difference_in(manifest: Manifest | None) -> Difference | None:
    """Out of a training phase's manifest; None where nothing was compared."""
    summary = manifest.summary if manifest is not None else None
    mean, warned = scalar(summary, "logprob_difference"), scalar(summary, WARNED)
    # Phases that draw nothing have zeros.
    if mean is None or (warned is None and not mean):
        return None
    keys = ("logprob_difference_max", "rollout_kl", "importance_outside")
    largest, kl, outside = (scalar(summary, key) for key in keys)
    return Difference(mean, largest, kl, outside, warned)


def differences_in(manifests: Mapping[PhaseName, Manifest | None]) -> dict[PhaseName, Difference]:
    """Those of an iteration's training phases."""
    found = {name: difference_in(manifests.get(name)) for name in TRAINING_PHASES}
    return {name: difference for name, difference in found.items() if difference is not None}


def difference_lines(found: Iterable[tuple[int, Mapping[PhaseName, Difference]]]) -> list[str]:
    """A line for each phase some of whose steps were past `learner.warn`."""
    return [
        f"{name} of iteration {iteration}: learner and rollout engine differ by {difference}; "
        f"{percent(difference.warned)} of steps past learner.warn"
        for iteration, differences in found
        for name, difference in differences.items()
        if difference.warned
    ]
