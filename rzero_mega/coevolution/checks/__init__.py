"""What a Challenger could exploit: checks look at one question and its votes, one file per way.

Those here go by length and votes alone, and suit any domain; a domain may have others. One that is on makes a question
flawed: its reward is that of a malformed one, and curation drops it. All of them are counted, whatever is on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rzero_mega.coevolution.checks.check import Check
from rzero_mega.coevolution.checks.mostly_unanswered import mostly_unanswered
from rzero_mega.coevolution.checks.no_majority import no_majority
from rzero_mega.coevolution.checks.too_long import too_long
from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig

GENERAL: dict[str, Check] = {check.__name__: check for check in (too_long, mostly_unanswered, no_majority)}

__all__ = ["GENERAL", "Check", "Checks", "mostly_unanswered", "no_majority", "too_long"]


@dataclass(frozen=True)
class Checks:
    """The checks of a domain, in the order in which a flaw is looked for, and the configuration's switches and bounds.

    A check without a switch of its name in `ChecksConfig` is always on.
    """

    by_name: Mapping[str, Check] = field(default_factory=dict)
    config: ChecksConfig = field(default_factory=ChecksConfig)

    def found(self, asked: VotedQuestion) -> tuple[str, ...]:
        """Names of all checks that find something, switched on or not."""
        return tuple(name for name, check in self.by_name.items() if check(asked, self.config))

    def flaw(self, asked: VotedQuestion) -> str | None:
        """The name of the first check that is on and finds something; None for a question to be asked."""
        for name, check in self.by_name.items():
            if getattr(self.config, name, True) and check(asked, self.config):
                return name
        return None


NO_CHECKS = Checks()
