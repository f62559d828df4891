"""What a check is."""

from __future__ import annotations

from collections.abc import Callable

from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig

Check = Callable[[VotedQuestion, ChecksConfig], bool]
"""Says whether a question has the flaw. Takes time linear in the text: a model wrote it."""
