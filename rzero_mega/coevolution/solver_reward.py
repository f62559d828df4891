"""The Solver's reward: does its answer equal the pseudo-label (R-Zero, arXiv 2508.05004, section 3.4).

Where answers have scores, the score is in the place of that (J-Zero, arXiv 2608.26582).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rzero_mega.config.schema import SolverRewardConfig
from rzero_mega.errors import UserError

_SPECIAL = frozenset(".^$*+?{}[]|()")


@dataclass(frozen=True)
class SolverReward:
    """A reward and its parts before weighting: each 0 or 1, but for an `accuracy` that is a score from 0 to 1."""

    total: float
    accuracy: float
    format: float


def solver_rewards(correct: Sequence[float], texts: Sequence[str], config: SolverRewardConfig) -> list[SolverReward]:
    """accuracy_weight * correct + format_weight * [text matches format_pattern], for every response.

    `correct[i]` says that response i has an answer and that the answer equals the label; it is False for a response
    that was cut off without one. Of answers that have scores it is the score, 0 without an answer. Raises UserError for
    a format_pattern that is not made of literal text and ``.*``.
    """
    if len(correct) != len(texts):
        raise ValueError(f"{len(correct)} grades for {len(texts)} responses")
    pieces = format_pieces(config.format_pattern) if config.format_weight else ()
    rewards = []
    for right, text in zip(correct, texts, strict=True):
        accuracy = float(right)
        shape = 1.0 if config.format_weight and has_format(text, pieces) else 0.0
        total = config.accuracy_weight * accuracy + config.format_weight * shape
        rewards.append(SolverReward(total, accuracy, shape))
    return rewards


def format_pieces(pattern: str) -> tuple[str, ...]:
    r"""Split a regular expression into its literal texts between ``.*``.

    Only literals, backslash-escaped punctuation and ``.*`` are allowed, because then a match takes time linear in the
    response. A backtracking engine takes cubic time for R-Zero's own pattern on a response that repeats ``</think>``
    and ``\boxed{``. Raises UserError for anything else.
    """
    pieces, literal, at = [], "", 0
    while at < len(pattern):
        two = pattern[at : at + 2]
        if two == ".*":
            pieces.append(literal)
            literal = ""
        elif two[0] == "\\" and len(two) == 2 and not two[1].isalnum():
            literal += two[1]
        elif two[0] == "\\" or two[0] in _SPECIAL:
            raise UserError(
                f"solver.reward.format_pattern: {two!r} at character {at + 1} is neither literal text nor .*; "
                "escape punctuation with a backslash"
            )
        else:
            literal += two[0]
            at += 1
            continue
        at += 2
    return (*pieces, literal)


def has_format(text: str, pieces: Sequence[str]) -> bool:
    """Whether the text, leading whitespace aside, starts with the first piece and has the others after it, in order."""
    at = len(text) - len(text.lstrip())
    if not text.startswith(pieces[0], at):
        return False
    at += len(pieces[0])
    for piece in pieces[1:]:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return True
