"""How many labels are true by an oracle's word: what is counted, and its JSON. For the report alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from rzero_mega.coevolution.label_quality import NOT_KNOWN, LabelQuality
from rzero_mega.records import bounded, field, optional_bounded, typed

COMPUTED = "exact"
"""The first word of what an oracle is called that computes the truth: "exact arithmetic"."""


class Outcome(StrEnum):
    """What came of holding a question's label against the oracle."""

    RIGHT = "right"
    WRONG = "wrong"
    UNANSWERABLE = "unanswerable"
    """By the oracle the question has no answer: it contradicts itself, or says too little."""
    UNSURE = "unsure"
    """The oracle does not agree with itself."""
    UNLABELLED = "unlabelled"
    """The question has no label, since no sample had an answer."""
    UNAUDITED = "unaudited"
    """Not asked, not answered, or for an oracle that computes: not computable."""


@dataclass(frozen=True)
class AuditedLabels:
    """Outcomes of `questions` questions. `low` and `high` are the 95 % interval of the accuracy, if there is one."""

    questions: int
    right: int = 0
    wrong: int = 0
    unanswerable: int = 0
    unsure: int = 0
    unlabelled: int = 0
    unaudited: int = 0
    low: float | None = None
    high: float | None = None

    @property
    def known(self) -> int:
        """Labels that are known to be right or wrong."""
        return self.right + self.wrong

    @property
    def accuracy(self) -> float | None:
        """The share of right ones among those that are right or wrong."""
        return self.right / self.known if self.known else None

    @property
    def asked(self) -> int:
        """Questions of which the oracle said anything."""
        return self.known + self.unanswerable + self.unsure

    def as_json(self) -> dict[str, Any]:
        """`accuracy` is there for readers of the file."""
        return {**asdict(self), "accuracy": self.accuracy}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> AuditedLabels:
        """Checked; see `Record`."""
        counts = {name: int(bounded(field(row, name, int), name, 0)) for name in ("questions", *Outcome)}
        low, high = (optional_bounded(row, name, 0, 1) for name in ("low", "high"))
        return cls(**counts, low=low, high=high)


@dataclass(frozen=True)
class LabelAudit:
    """An iteration's labels by one oracle: of kept and of dropped questions, and of all by the p̂ they were given.

    `agreement` is the mean share of the oracle's samples that agree with its majority; None where it computes.
    `quality` is what the labels that are right or wrong by its word are worth to the Solver.
    """

    oracle: str
    kept: AuditedLabels
    dropped: AuditedLabels
    by_p_hat: tuple[tuple[float, AuditedLabels], ...]
    agreement: float | None = None
    quality: LabelQuality = NOT_KNOWN

    @property
    def computed(self) -> bool:
        """Whether the oracle computes the truth; otherwise it is a model."""
        return self.oracle.startswith(f"{COMPUTED} ")

    def as_json(self) -> dict[str, Any]:
        """The object of a summary."""
        return {
            "oracle": self.oracle,
            "kept": self.kept.as_json(),
            "dropped": self.dropped.as_json(),
            "by_p_hat": [{"p_hat": p_hat, **labels.as_json()} for p_hat, labels in self.by_p_hat],
            "agreement": self.agreement,
            "quality": self.quality.as_json(),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> LabelAudit:
        """Checked; see `Record`."""
        bins = [typed(found, dict, "by_p_hat") for found in field(row, "by_p_hat", list)]
        return cls(
            field(row, "oracle", str),
            AuditedLabels.from_json(field(row, "kept", dict)),
            AuditedLabels.from_json(field(row, "dropped", dict)),
            tuple((bounded(float(found["p_hat"]), "p_hat", 0, 1), AuditedLabels.from_json(found)) for found in bins),
            optional_bounded(row, "agreement", 0, 1),
            # Audits of earlier versions have none.
            LabelQuality.from_json(field(row, "quality", dict)) if "quality" in row else NOT_KNOWN,
        )
