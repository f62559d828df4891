"""Words that several checks look for."""

from __future__ import annotations

VERBS = (
    "find|compute|determine|calculate|evaluate|solve|prove|show|simplify|express|estimate|derive|factori[sz]e|factor"
    "|expand|count|give|state|name|list|write|convert|round|identify|construct|minimi[sz]e|maximi[sz]e|approximate"
    "|describe|explain|verify|integrate|differentiate"
)
"""Verbs that a demand begins with, as alternatives of a pattern."""

ASKS = rf"(?:{VERBS}|what|how|who|whose|why|which)\b"
"""The first word of a demand or question."""
