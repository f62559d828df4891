"""What the guard makes of the gauges: whether an iteration is sound, and how the run goes on (`labels.guard`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rzero_mega.coevolution.gauges import Gauges
from rzero_mega.config.schema import LabelsGuardConfig
from rzero_mega.records import bounded, field, typed

FIRST = 1
"""The iteration whose gauges those of later ones are held against."""

LEAST_IN_BAND = 20
"""Agreement in the band is not looked at where it is of fewer questions."""

# A bound is not crossed by what binary fractions make of it.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Decision:
    """How a run goes on after an iteration: `reasons` say why it is not sound, `action` what the guard was set to do.

    The next iteration starts from the Solver of iteration `start`; `widened` says that from then on the guard's panel
    votes.
    """

    action: str
    reasons: tuple[str, ...]
    start: int
    widened: bool

    @property
    def sound(self) -> bool:
        """Whether there is nothing against the iteration."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """The object of a summary."""
        return {**asdict(self), "reasons": list(self.reasons)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Decision:
        """Checked; see `Record`."""
        reasons = tuple(typed(reason, str, "reasons") for reason in field(row, "reasons", list))
        start = int(bounded(field(row, "start", int), "start", 0))
        return cls(field(row, "action", str), reasons, start, field(row, "widened", bool))


def decide(
    iteration: int, gauges: Mapping[int, Gauges], config: LabelsGuardConfig, widened: bool = False
) -> Decision | None:
    """What becomes of the run after an iteration, whose gauges and those before are given; None with action off.

    `widened` says that the guard's panel votes already.
    """
    if config.action == "off" or iteration not in gauges:
        return None
    reasons = objections(iteration, gauges, config)
    start = iteration if config.action != "roll_back" else last_sound(iteration, gauges, config)
    return Decision(config.action, reasons, start, widened or (config.action == "widen" and bool(reasons)))


def last_sound(iteration: int, gauges: Mapping[int, Gauges], config: LabelsGuardConfig) -> int:
    """The last of the iterations up to this one that has gauges and is sound; 0, the base model, where none is."""
    known = (number for number in sorted(gauges, reverse=True) if number <= iteration)
    return next((number for number in known if not objections(number, gauges, config)), 0)


def objections(iteration: int, gauges: Mapping[int, Gauges], config: LabelsGuardConfig) -> tuple[str, ...]:
    """Why an iteration is not sound: a phrase per bound that is crossed, which names its key below `labels.guard`."""
    now, first = gauges[iteration], gauges.get(FIRST)
    found = []
    agreement = now.agreement_in_band if now.in_band >= LEAST_IN_BAND else None
    if agreement is not None and agreement < config.least_agreement - _ROUNDING:
        found.append(f"agreement in band {_percent(agreement)} < least_agreement {_percent(config.least_agreement)}")
    if first is None:
        return tuple(found)
    if now.greedy_agreement is not None and first.greedy_agreement is not None:
        fall = first.greedy_agreement - now.greedy_agreement
        if fall > config.greedy_fall + _ROUNDING:
            found.append(f"greedy = vote fell by {_percent(fall)} > greedy_fall {_percent(config.greedy_fall)}")
    left = now.entropy / first.entropy if now.entropy is not None and first.entropy else None
    if left is not None and left < config.entropy_left - _ROUNDING:
        found.append(f"entropy {_percent(left)} of iteration {FIRST}'s < entropy_left {_percent(config.entropy_left)}")
    return tuple(found)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
