"""What labels cost: tokens and seconds by who was asked for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rzero_mega.phase_name import PhaseName
from rzero_mega.run import Manifest
from rzero_mega.tracking.charts import compact
from rzero_mega.tracking.summaries import duration, percent, scalar

VERDICT_SOURCE = "verdicts"
"""What a Verifier or a Critic wrote, beside the sources of votes in a phase's costs."""

_MOST = 1e15
"""Past it a manifest is damaged: sums have to stay numbers."""


@dataclass(frozen=True)
class LabelCost:
    """Of votes of one source, of paraphrases or verdicts.

    `seconds` are of drawing and reading, `load_seconds` of loading models.
    """

    samples: float
    tokens: float
    seconds: float
    load_seconds: float

    def __add__(self, other: LabelCost) -> LabelCost:
        """Of both."""
        return LabelCost(
            self.samples + other.samples,
            self.tokens + other.tokens,
            self.seconds + other.seconds,
            self.load_seconds + other.load_seconds,
        )

    def as_json(self) -> dict[str, float]:
        """The object of a summary."""
        return {**vars(self), "seconds": round(self.seconds, 3), "load_seconds": round(self.load_seconds, 3)}


NO_COST = LabelCost(0, 0, 0, 0)


def label_costs(manifest: Manifest | None) -> dict[str, LabelCost]:
    """By source, as a finished labels phase says; nothing where it doesn't."""
    found = manifest.summary.get("costs") if manifest and manifest.phase is PhaseName.LABELS else None
    rows = found if isinstance(found, Mapping) else {}
    return {str(name): _cost(row) for name, row in rows.items() if isinstance(row, Mapping)}


def total(costs: Sequence[Mapping[str, LabelCost]]) -> dict[str, LabelCost]:
    """By source, over several iterations."""
    found: dict[str, LabelCost] = {}
    for of_iteration in costs:
        for name, cost in of_iteration.items():
            found[name] = found.get(name, NO_COST) + cost
    return found


def cost_line(costs: Sequence[Mapping[str, LabelCost]]) -> str | None:
    """All iterations in one line, by which runs are compared at equal cost; None where nothing is known."""
    known = [of_iteration for of_iteration in costs if of_iteration]
    by_source = total(known)
    whole = sum(by_source.values(), NO_COST)
    if not whole.tokens:
        return None
    shares = ", ".join(f"{name} {percent(cost.tokens / whole.tokens, 0)}" for name, cost in by_source.items())
    words = f"label tokens: {compact(whole.tokens)} in {len(known)} iteration{'s' * (len(known) > 1)}"
    words += f" ({shares})" if len(by_source) > 1 else ""
    return f"{words}; {duration(whole.seconds)} drawing, {duration(whole.load_seconds)} loading models"


def _cost(row: Mapping[str, object]) -> LabelCost:
    values = (scalar(row, key) or 0.0 for key in ("samples", "tokens", "seconds", "load_seconds"))
    return LabelCost(*(value if 0.0 <= value <= _MOST else 0.0 for value in values))
