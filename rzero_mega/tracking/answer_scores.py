"""What the answers of a labels phase scored, in a domain that has scores in place of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rzero_mega.records import bounded, field, optional_bounded, record_if_sound
from rzero_mega.run import Manifest

SCORES = "scores"
"""In the phase's summary."""


@dataclass(frozen=True)
class AnswerScores:
    """Means over the questions: of the scores, of their spread, and of the hidden quality, also of the kept questions.

    All from 0 to 1; the qualities are None where the domain can't tell. They are for readers alone.
    """

    score: float
    spread: float
    quality: float | None
    quality_kept: float | None

    def as_json(self) -> dict[str, Any]:
        """What a summary holds."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> AnswerScores:
        """Checked; see `Record`."""
        means = (bounded(field(row, name, float), name, 0, 1) for name in ("score", "spread"))
        return cls(*means, *(optional_bounded(row, name, 0, 1) for name in ("quality", "quality_kept")))


def scores_in(labels: Manifest | None) -> AnswerScores | None:
    """Out of a labels phase's manifest, to be shown; None of a domain that has votes."""
    return None if labels is None else record_if_sound(labels.summary.get(SCORES), AnswerScores)
