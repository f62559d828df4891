"""What is spoilt in a row of words makes it worse, by the hidden quality too."""

from __future__ import annotations

from itertools import product
from random import Random
from string import ascii_lowercase

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


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_whatever_is_spoilt_was_better(kind: str) -> None:
    """Of short answers too, in any order, with words twice and with words of their own: where a Solver may go."""
    rng, spoilt = Random(0), 0
    for task in ("zz b aa c d e f g", "a b", "cat dog ant dog"):
        words = [*dict.fromkeys(task.split()), "own"]
        for length in (1, 2, 3, 4):
            for given in product(words[:5], repeat=length):
                answer = " ".join(given)
                worse = CORRUPTIONS[kind](task, answer, rng)
                if worse is not None:
                    before, after = quality(task, answer), quality(task, worse) if worse else 0.0
                    assert before is not None and after is not None and after < before, (task, answer, worse)
                    spoilt += 1
    assert spoilt > 20


def test_what_might_not_get_worse_is_left_alone() -> None:
    rng = Random(0)
    assert CORRUPTIONS["dropped_word"]("a b", "b b", rng) is None, "without one it would be better"
    assert CORRUPTIONS["dropped_word"]("a b", "zzz", rng) is None
    assert CORRUPTIONS["broken_order"]("a b", "b a", rng) is None
    assert CORRUPTIONS["broken_order"]("a b", "a a", rng) is None
    assert CORRUPTIONS["repeated_word"]("zz b aa c d e f g", "zz aa", rng) is None, "in order a part of it would be"
    assert CORRUPTIONS["swapped_word"]("a b", "b b", rng) is None, "with two different words it might be"
    assert CORRUPTIONS["swapped_word"]("a b", " ".join(ascii_lowercase), rng) is None, "no letter is left"
    assert CORRUPTIONS["foreign_word"]("a b", "zzz", rng) is None, "it is worth nothing already"
