"""What labels are worth to the Solver that learns from them, by the truth: measures for the report alone.

Label accuracy can be bought by keeping what the Solver knows anyway. What teaches is a label that corrects it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from rzero_mega.coevolution.panel import solver_share
from rzero_mega.coevolution.records import LabelledQuestion
from rzero_mega.records import bounded, field, optional_bounded


@dataclass(frozen=True)
class LabelQuality:
    """Of an iteration's labels, of those that are known to be right or wrong.

    `signal_weighted_accuracy` is that of the kept ones with weights 4 p (1 - p), p being the share of the Solver's own
    votes that gave the label: about what GRPO's gradient makes of them. None where no weight is above 0.
    `p_hat_wrong` is the mean p̂ of wrong labels, kept or not; None where none is wrong. `compared` kept questions have a
    greedy answer of the Solver: `corrections` of them have a right label where that is wrong, `corruptions` a wrong
    label where it is right.
    """

    signal_weighted_accuracy: float | None = None
    p_hat_wrong: float | None = None
    compared: int = 0
    corrections: int = 0
    corruptions: int = 0

    @property
    def net_corrections(self) -> float | None:
        """Corrections less corruptions, per 100 kept questions; None where no greedy answer is known."""
        return 100 * (self.corrections - self.corruptions) / self.compared if self.compared else None

    def as_json(self) -> dict[str, Any]:
        """The object of a summary; `net_corrections` is there for its readers."""
        return {**asdict(self), "net_corrections": self.net_corrections}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> LabelQuality:
        """Checked; see `Record`."""
        compared, corrections, corruptions = (
            int(bounded(field(row, name, int), name, 0)) for name in ("compared", "corrections", "corruptions")
        )
        signal, wrong = (optional_bounded(row, name, 0, 1) for name in ("signal_weighted_accuracy", "p_hat_wrong"))
        return cls(signal, wrong, compared, corrections, corruptions)


NOT_KNOWN = LabelQuality()


def label_quality(
    known: Iterable[tuple[LabelledQuestion, bool]], greedy: Sequence[tuple[bool, bool]] = ()
) -> LabelQuality:
    """The measures of these questions, each with whether its label is right.

    `greedy` has, for each kept question whose greedy answer is known: whether the label is right, whether that answer.
    """
    known = list(known)
    weighted = [(_signal(question), right) for question, right in known if question.kept]
    whole = sum(weight for weight, _ in weighted)
    wrong = [question.answered.vote.share for question, right in known if not right]
    return LabelQuality(
        signal_weighted_accuracy=sum(weight for weight, right in weighted if right) / whole if whole else None,
        p_hat_wrong=fmean(wrong) if wrong else None,
        compared=len(greedy),
        corrections=sum(label and not answer for label, answer in greedy),
        corruptions=sum(answer and not label for label, answer in greedy),
    )


def _signal(question: LabelledQuestion) -> float:
    """The variance of the reward for giving the label, as a share of the greatest possible one."""
    share = solver_share(question.answered.vote)
    return 0.0 if share is None else float(4 * share * (1 - share))
