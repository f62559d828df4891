"""An answer over the same answer with something spoilt in it, each way to spoil one being a kind of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from rzero_mega.coevolution.critic_pairs import RankedPair
from rzero_mega.coevolution.question_key import question_key
from rzero_mega.coevolution.streams import derive_seed

Corrupt = Callable[[str, str, Random], str | None]
"""Of a question and an answer to it, the answer made worse; None where it can't be made."""


def intact_over_corrupted(
    answered: Mapping[str, Sequence[str | None]], corruptions: Mapping[str, Corrupt], seed: int
) -> list[RankedPair]:
    """Of every different answer to each question, by every corruption that applies; `seed` is the run's."""
    found = []
    for question, answers in answered.items():
        for intact in dict.fromkeys(answer for answer in answers if answer is not None):
            for kind, corrupt in corruptions.items():
                stream = Random(derive_seed("critic", kind, seed, question_key(question), intact))
                corrupted = corrupt(question, intact, stream)
                if corrupted is not None and corrupted != intact:
                    found.append(RankedPair(kind, question, intact, corrupted))
    return found
