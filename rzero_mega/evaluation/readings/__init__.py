"""How responses to benchmarks are read and judged, one file per way."""

from __future__ import annotations

from rzero_mega.domains.domain import Domain
from rzero_mega.domains.registry import domain_named
from rzero_mega.errors import UserError
from rzero_mega.evaluation.readings.choices import Choices
from rzero_mega.evaluation.readings.of_domain import OfDomain
from rzero_mega.evaluation.readings.reading import Reading
from rzero_mega.evaluation.readings.text import Text

READINGS: dict[str, Reading] = {"choices": Choices(), "text": Text()}
"""Those that need no domain. Any domain's name is a reading too."""

__all__ = ["READINGS", "Choices", "OfDomain", "Reading", "Text", "reading_named"]


def reading_named(name: str | None, domain: Domain) -> Reading:
    """One of `READINGS`, or as the domain of that name reads; None: as `domain`, the run's, does.

    UserError for a domain whose answers another grader judges than the run's, which is the only one that is open.
    """
    if name in READINGS:
        return READINGS[name]
    named = domain if name is None else domain_named(name)
    if named.answers.grader is not domain.answers.grader:
        raise UserError(
            f"evaluation.benchmarks: the grader of {named.name} judges them, and domain {domain.name} has another one; "
            f"leave them out, or evaluate them with a recipe of {named.name}"
        )
    return OfDomain(named.answers)
