"""How responses to benchmarks are read and judged, one file per way."""

from __future__ import annotations

from rzero_mega.domains.domain import CheckableAnswers, Domain, ScoredAnswers
from rzero_mega.domains.registry import domain_named
from rzero_mega.errors import UserError
from rzero_mega.evaluation.readings.choices import Choices
from rzero_mega.evaluation.readings.of_domain import OfDomain
from rzero_mega.evaluation.readings.of_quality import OfQuality
from rzero_mega.evaluation.readings.reading import Reading
from rzero_mega.evaluation.readings.text import Text

READINGS: dict[str, Reading] = {"choices": Choices(), "text": Text()}
"""Those that need no domain. Any domain's name is a reading too."""

__all__ = ["READINGS", "Choices", "OfDomain", "OfQuality", "Reading", "Text", "reading_named"]


def reading_named(name: str | None, domain: Domain) -> Reading:
    """One of `READINGS`, or as the domain of that name reads; None: as `domain`, the run's, does.

    UserError for a domain whose answers another grader judges than the run's, which is the only one that is open, and
    for one of scored answers whose quality nobody computes.
    """
    if name in READINGS:
        return READINGS[name]
    named = domain if name is None else domain_named(name)
    if not _judged_alike(named, domain):
        raise UserError(
            f"evaluation.benchmarks: the grader of {named.name} judges them, and domain {domain.name} has another one; "
            f"leave them out, or evaluate them with a recipe of {named.name}"
        )
    if isinstance(named.answers, CheckableAnswers):
        return OfDomain(named.answers)
    if named.answers.quality is None:
        raise UserError(
            f"evaluation.benchmarks: domain {named.name} computes no quality of answers, and can't judge them; leave "
            "them out, or take benchmarks that are read as choices or text"
        )
    return OfQuality(named.answers)


def _judged_alike(one: Domain, other: Domain) -> bool:
    if isinstance(one.answers, ScoredAnswers) or isinstance(other.answers, ScoredAnswers):
        return one.answers is other.answers
    return one.answers.grader is other.answers.grader
