"""By whose word answers are right: the rules alone, or a judge after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rzero_mega.records import bounded, field

RULES = "rule-based"
SUMMARY = "judge"
"""Key of an evaluation's summary."""

ANSWERS = "judge.jsonl"
"""What the judge said, beside the predictions: judged again, nothing is asked twice."""


@dataclass(frozen=True)
class Graded:
    """A response as the rules see it: `candidate` is its final answer, if it has one; `right` their verdict."""

    question: str
    references: tuple[str, ...]
    candidate: str | None
    right: bool
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class JudgeReport:
    """What a judge did: of `rechecked` answers that the rules called wrong it called `overturned` right.

    `unreadable` verdicts count as "wrong". `unasked` answers stay as the rules have them: the budget was used up, or
    the endpoint did not answer. `agreed` of `sample` answers, drawn at random from all, have the rules' verdict;
    `low` and `high` are the 95 % interval of that share.
    """

    model: str
    rechecked: int
    overturned: int
    unreadable: int
    unasked: int
    sample: int
    agreed: int
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """For tables."""
        parts = [f"{self.rechecked} re-checked", f"{self.overturned} overturned"]
        parts += [f"{self.unreadable} verdicts unreadable"] if self.unreadable else []
        parts += [f"{self.unasked} not asked"] if self.unasked else []
        if self.sample and self.low is not None and self.high is not None:
            interval = f"{100 * self.low:.1f}, {100 * self.high:.1f}"
            parts.append(
                f"agreement with the rules on a sample of {self.sample}: "
                f"{100 * self.agreed / self.sample:.1f} % [{interval}]"
            )
        return f"rules, then {self.model} ({', '.join(parts)})"

    def as_json(self) -> dict[str, Any]:
        """The object of a summary."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> JudgeReport:
        """Checked; see `Record`."""
        names = ("rechecked", "overturned", "unreadable", "unasked", "sample", "agreed")
        counts = {name: int(bounded(field(row, name, int), name, 0)) for name in names}
        low, high = (None if row[name] is None else bounded(float(row[name]), name, 0, 1) for name in ("low", "high"))
        return cls(field(row, "model", str), **counts, low=low, high=high)


SecondLook = Callable[[Sequence[Graded]], tuple[list[bool], JudgeReport]]
"""Verdicts on responses in their order, after the judge has seen those that the rules called wrong."""


def graded_by(summary: Mapping[str, Any]) -> str:
    """By whose word the answers of an evaluation are right, in words, by its summary."""
    return _words(summary, str)


def grader_of(summary: Mapping[str, Any]) -> str:
    """The same without what the judge found: equal of evaluations that were graded alike."""
    return _words(summary, lambda report: f"rules, then {report.model}")


def _words(summary: Mapping[str, Any], of_judge: Callable[[JudgeReport], str]) -> str:
    try:
        return of_judge(JudgeReport.from_json(summary[SUMMARY])) if summary.get(SUMMARY) is not None else RULES
    except (KeyError, TypeError, ValueError):
        return "rules, then a judge whose report is unreadable"
