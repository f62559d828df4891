"""What a check is, and the words that several of them look for."""

from __future__ import annotations

from collections.abc import Callable

from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig

Check = Callable[[VotedQuestion, ChecksConfig], bool]
"""Says whether a question has the flaw. Takes time linear in the text: a model wrote it."""

VERBS = (
    "find|compute|determine|calculate|evaluate|solve|prove|show|simplify|express|estimate|derive|factori[sz]e|factor"
    "|expand|count|give|state|name|list|write|convert|round|identify|construct|minimi[sz]e|maximi[sz]e|approximate"
    "|describe|explain|verify|integrate|differentiate"
)
"""Verbs that a demand begins with, as alternatives of a pattern."""

ASKS = rf"(?:{VERBS}|what|how|who|whose|why|which)\b"
"""The first word of a demand or question."""
