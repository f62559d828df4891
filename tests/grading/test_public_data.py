"""On golds of public benchmarks and pairs from others' test suites: no two different answers are taken for one.

The data are no part of the repository (`tools.reward_benchmarks.shared_data`).
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import pytest

from rzero_mega.grading import GradingPool, equivalent, extract_answer
from rzero_mega.grading.answers.answer import read_answer
from rzero_mega.grading.answers.comparison import compare_cheaply
from tools.reward_benchmarks import shared_data
from tools.reward_benchmarks.mutations import mutations
from tools.reward_benchmarks.shared_data import Gold, SuitePair
from tools.reward_benchmarks.suites import DISPUTED, reason_of

DATA = shared_data.folder()
pytestmark = pytest.mark.skipif(DATA is None, reason="RZERO_MEGA_DATA names no folder with grading/pairs.jsonl")

MUTATIONS = 10_000
REVIEWED: dict[str, str] = {}
"""Digest of a gold and its mutation -> why they are the same answer. None of the first seeds' needs one."""


@cache
def golds() -> list[Gold]:
    assert DATA is not None
    return shared_data.golds(DATA)


@cache
def pairs() -> list[SuitePair]:
    assert DATA is not None
    return shared_data.suite_pairs(DATA)


def digest(*texts: str) -> str:
    return sha256("\0".join(texts).encode()).hexdigest()[:12]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_no_gold_equals_itself_with_one_token_changed(seed: int) -> None:
    changed = mutations(golds(), MUTATIONS, seed)
    with GradingPool(1, 10.0, 512) as pool:
        verdicts = pool.equivalent_pairs([(mutation.gold.text, mutation.text) for mutation in changed])
    equal = [
        (mutation.gold.benchmark, mutation.gold.index, mutation.text)
        for mutation, verdict in zip(changed, verdicts, strict=True)
        if verdict.equal and digest(mutation.gold.text, mutation.text) not in REVIEWED
    ]
    assert len(changed) == MUTATIONS and equal == []


def test_every_gold_equals_itself_and_its_text_in_a_box() -> None:
    for text in {gold.text for gold in golds()}:
        assert equivalent(text, text)
        boxed = extract_answer(rf"so \boxed{{{text}}}.")
        assert boxed is not None and (equivalent(boxed, text) or text.count("{") != text.count("}"))


SAME_VALUE = {
    "2691dc6c74df": "lists have no order",
    "9f87e76a5d74": "lists have no order",
    "cd9e321168ef": "one ratio",
    "5deffc65b989": "a ratio and its quotient",
    "d412b0b3f111": "a blank",
}
"""Digest of two golds that are written otherwise and equal by value -> why."""


@pytest.mark.slow
def test_golds_of_different_questions_are_equal_only_by_value() -> None:
    """Numbers apart, of which there are thousands, and which are compared exactly."""
    texts = sorted({gold.text for gold in golds() if read_answer(gold.text).rational is None})
    doubtful = []
    equal = []
    for a, b in combinations(texts, 2):
        verdict = compare_cheaply(read_answer(a), read_answer(b))
        if verdict is None:
            doubtful.append((a, b))
        elif verdict[0]:
            equal.append((a, b))
    with GradingPool(1, 10.0, 512) as pool:
        verdicts = pool.equivalent_pairs(doubtful)
    equal += [pair for pair, verdict in zip(doubtful, verdicts, strict=True) if verdict.equal]
    spelt = [(a, b) for a, b in equal if bare(a) != bare(b)]
    assert [pair for pair in spelt if digest(*pair) not in SAME_VALUE] == []


def bare(text: str) -> str:
    """Return a text without the dress that changes nothing, in as plain a way as can be."""
    return re.sub(r"\\text\{(.*)\}|^\(([A-J])\)$", r"\1\2", re.sub(r"[\s$]", "", text)).strip("()")


@pytest.mark.slow
def test_the_suites_disagreements_all_have_a_reason() -> None:
    with GradingPool(1, 10.0, 512) as pool:
        verdicts = pool.equivalent_pairs([(pair.gold, pair.answer) for pair in pairs()])
    wrong = [pair for pair, verdict in zip(pairs(), verdicts, strict=True) if verdict.equal is not pair.equal]
    assert [pair for pair in wrong if reason_of(pair) is None] == []
    false = [pair for pair in wrong if not pair.equal]
    assert {digest(pair.gold, pair.answer) for pair in false} <= set(DISPUTED)


def test_prose_without_a_box_has_no_answer() -> None:
    prose = [pair for pair in pairs() if "prose" in pair.tags]
    assert len(prose) > 100
    assert [
        pair.answer for pair in prose if extract_answer(pair.answer) is not None and "boxed" not in pair.answer
    ] == []


def test_the_data_are_what_the_figures_speak_of(request: pytest.FixtureRequest) -> None:
    assert isinstance(DATA, Path)
    assert len(pairs()) > 3_900 and len(golds()) > 20_000
    assert min(Counter(gold.benchmark for gold in golds()).values()) >= 30
