"""What is spoilt in a row of words makes it worse, by the hidden quality too."""

from __future__ import annotations

from random import Random

import pytest

from rzero_mega.domains.rewriting.corruptions import CORRUPTIONS
from rzero_mega.domains.rewriting.rows import best, measured_tasks, quality, read_row


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_best_answer_is_made_worse_in_every_way(kind: str) -> None:
    for number, (_, task) in enumerate(measured_tasks(50)):
        spoilt = CORRUPTIONS[kind](task, best(task), Random(number))
        assert spoilt is not None and read_row(spoilt) == spoilt
        worth = quality(task, spoilt)
        assert worth is not None and worth < 1.0


def test_what_might_not_get_worse_is_left_alone() -> None:
    rng = Random(0)
    assert CORRUPTIONS["dropped_word"]("a b", "b b", rng) is None, "without one it would be better"
    assert CORRUPTIONS["dropped_word"]("a b", "zzz", rng) is None
    assert CORRUPTIONS["broken_order"]("a b", "b a", rng) is None
    assert CORRUPTIONS["broken_order"]("a b", "a a", rng) is None
    assert CORRUPTIONS["repeated_word"]("a b", "a", rng) == "a a"
