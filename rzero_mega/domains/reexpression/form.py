"""What every kind of re-expression offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Form:
    """Another form of a question; its answer is the question's, unless a kind maps it back."""

    question: str

    def restore(self, answer: str | None) -> str | None:
        """The answer to the first question; None where none can be told from the answer to this one."""
        return answer


Reexpress: TypeAlias = Callable[[str, int], Sequence[Form]]
"""Up to so many other forms of a question; none where it has none, and is asked as it stands."""


def as_it_stands(_question: str, _most: int) -> Sequence[Form]:
    """No other form of any question."""
    return ()
