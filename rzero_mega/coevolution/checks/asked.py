"""What a check looks at, and how it reads text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from rzero_mega.coevolution.questions import Question
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config.schema import ChecksConfig


@dataclass(frozen=True)
class Asked:
    """A question and what came of asking the Solver."""

    question: Question
    vote: Vote

    @cached_property
    def text(self) -> str:
        """The question in one line and in small letters, for patterns to read."""
        return " ".join(self.question.text.casefold().split())


Check = Callable[[Asked, ChecksConfig], bool]
"""Says whether a question has the flaw. Takes time linear in the text: a model wrote it."""

VERBS = (
    "find|compute|determine|calculate|evaluate|solve|prove|show|simplify|express|estimate|derive|factori[sz]e|factor"
    "|expand|count|give|state|name|list|write|convert|round|identify|construct|minimi[sz]e|maximi[sz]e|approximate"
    "|describe|explain|verify|integrate|differentiate"
)
"""Verbs that a demand begins with, as alternatives of a pattern."""

ASKS = rf"(?:{VERBS}|what|how|who|whose|why|which)\b"
"""The first word of a demand or question."""
