"""A minute of fuzzing: properties that hold for any two texts.

FUZZ_SEED is the number that the first round draws from, by default 0; each round adds one. So a failure in CI comes
again, and another number looks further.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from rzero_mega.grading import equality, equivalent, extract_answer, normalise
from rzero_mega.grading.text.extraction import MAX_ANSWER_CHARS
from tools.reward_benchmarks.hostile_answers import FAMILIES, Draw

MINUTE_S = 60.0
EXAMPLES_PER_ROUND = 100
TIME_LIMIT_S = 1.0

T = TypeVar("T")

atoms = st.one_of(
    st.sampled_from([*"0127xynkeiABé²½√π∞°", "10", "0.5", "1,000", "-3", "1e9", "2 1/2", r"\pi", r"\infty", r"\theta"]),
    st.sampled_from(["x_1", r"\mathbb{R}", r"\emptyset", r"\text{ or }", r"\text{ cm}", r"\%", "$", "no solution", ""]),
    st.integers(-(10**20), 10**20).map(str),
    st.text(max_size=4),
)
templates = st.sampled_from([
    r"\frac{%s}{%s}", r"\dfrac%s%s", r"\sqrt{%s}", r"\sqrt[%s]{%s}", "%s^{%s}", "%s^%s", "%s_{%s}", "(%s)", "%s:%s",
    r"\left(%s\right]", "[%s, %s)", r"\{%s, %s\}", "%s, %s", "%s+%s", "%s-%s", "%s%s", "%s/%s", r"%s \cdot %s", "-%s",
    r"\pm %s", "%s=%s", "%s<%s", r"%s \le %s", r"%s \cup %s", r"\sin %s", r"\ln(%s)", r"\log_{%s}{%s}", "|%s|", "%s!",
    r"\lfloor %s \rfloor", r"\binom{%s}{%s}", r"\begin{pmatrix}%s & %s\\%s & %s\end{pmatrix}", r"\text{%s}", "{%s}",
    r"\boxed{%s}", r"\mathrm{%s}", r"\overline{%s}", r"%s^\circ", "the answer is %s", "%s cm^2", r"\max(%s, %s)",
    "$%s$", r"%s \text{ and } %s", r"x \in %s", "%s.",
])  # fmt: skip


def fill(template: str, parts: list[str]) -> str:
    for part in parts[: template.count("%s")]:
        template = template.replace("%s", part.replace("%", "\0"), 1)
    return template.replace("\0", "%")


grown = st.recursive(
    atoms, lambda inner: st.builds(fill, templates, st.lists(inner, min_size=4, max_size=4)), max_leaves=24
)
attacks = st.builds(
    lambda family, number: FAMILIES[family](Draw(number)), st.sampled_from(list(FAMILIES)), st.integers(0, 10**9)
)


def damage(text: str, piece: str, where: float, length: int) -> str:
    """`text` with some characters replaced, so that what is nearly right is tried too."""
    at = int(where * len(text))
    return text[:at] + piece + text[at + length :]


damaged = st.builds(damage, grown, atoms, st.floats(0, 1), st.integers(0, 5))
answers = st.one_of(grown, damaged, attacks)


def within_limit(judge: Callable[[], T]) -> T:
    for _ in range(2):  # this machine may stall once
        equality._per_thread.own.worker.start()  # not part of the limit
        start = time.monotonic()
        verdict = judge()
        if time.monotonic() - start <= 2 * TIME_LIMIT_S:
            return verdict
    raise AssertionError("took twice its time limit, twice")


def check(a: str, b: str) -> None:
    for text in (a, b):
        once = normalise(text[:MAX_ANSWER_CHARS])
        assert normalise(once) == once
        assert within_limit(lambda: equivalent(text, text, TIME_LIMIT_S)), "not equal to itself"  # noqa: B023
        extract_answer(rf"\boxed{{{text}}}")
    verdict = within_limit(lambda: equivalent(a, b, TIME_LIMIT_S))
    reverse = within_limit(lambda: equivalent(b, a, TIME_LIMIT_S))
    if verdict is not reverse:  # one of them may have met its limit; given time, both must come to one verdict
        assert equivalent(a, b, 30.0) is equivalent(b, a, 30.0)


@pytest.mark.e2e
def test_a_minute_of_fuzzing_finds_nothing() -> None:
    end = time.monotonic() + MINUTE_S
    number = int(os.environ.get("FUZZ_SEED", "0"))
    examples = 0

    def until_the_end(a: str, b: str) -> None:
        nonlocal examples
        if time.monotonic() < end:
            check(a, b)
            examples += 1

    while time.monotonic() < end:
        several = settings(max_examples=EXAMPLES_PER_ROUND, deadline=None, database=None)
        try:
            seed(number)(several(given(answers, answers)(until_the_end)))()
        except BaseException as error:
            error.add_note(f"found in the round of seed {number}")
            raise
        number += 1
    assert examples > EXAMPLES_PER_ROUND
