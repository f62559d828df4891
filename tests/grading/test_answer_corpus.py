"""The labelled corpus: well formed, judged right both ways round, and equality transitive on it."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from rzero_mega.grading import equivalent
from rzero_mega.grading.answers.answer import read_answer
from rzero_mega.grading.answers.comparison import _label
from tests.grading.answer_corpus import FOLDER, LabelledPair, accuracy_by_category, describe, load_corpus

CORPUS = load_corpus()
CATEGORIES = sorted({pair.category for pair in CORPUS})


def read_known_misses() -> dict[tuple[str, str], str]:
    """Pairs that the grader is known to get wrong -> why. One that it gets right must go from the file."""
    lines = (FOLDER.parent / "known_misses.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    return {(a, b): reason for a, b, reason in rows}


KNOWN_MISSES = read_known_misses()


def of(category: str) -> list[LabelledPair]:
    return [pair for pair in CORPUS if pair.category == category]


@pytest.mark.parametrize("category", CATEGORIES)
def test_labelled_pairs_are_judged_right_both_ways_round(category: str) -> None:
    pairs = [pair for pair in of(category) if (pair.a, pair.b) not in KNOWN_MISSES]
    there = accuracy_by_category(equivalent, pairs)
    back = accuracy_by_category(lambda a, b: equivalent(b, a), pairs)
    assert not there[category].wrong, describe(accuracy_by_category(equivalent))
    assert there == back


def test_known_misses_are_still_missed() -> None:
    labelled = {(pair.a, pair.b): pair.equal for pair in CORPUS}
    assert set(KNOWN_MISSES) <= set(labelled)
    for (a, b), reason in KNOWN_MISSES.items():
        assert reason and labelled[a, b], "two different answers taken for one are no known miss"
        assert equivalent(a, b) is not labelled[a, b], f"{a} and {b} are judged right now: take them off the list"


def equal_classes() -> list[list[str]]:
    """Return the texts of the corpus, joined by its equal pairs."""
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        parent.setdefault(text, text)
        while parent[text] != text:
            text = parent[text]
        return text

    for pair in CORPUS:
        first, second = root(pair.a), root(pair.b)
        if pair.equal:
            parent[second] = first
    classes: dict[str, list[str]] = {}
    for text in list(parent):
        classes.setdefault(root(text), []).append(text)
    return list(classes.values())


def test_equality_is_transitive_on_the_corpus() -> None:
    missed = {text for pair in KNOWN_MISSES for text in pair}
    wrong = [
        (a, b)
        for members in equal_classes()
        for a, b in combinations(members, 2)
        if not equivalent(a, b) and not missed & {a, b} and not both_name_something(a, b)
    ]
    assert not wrong


def both_name_something(a: str, b: str) -> bool:
    """Whether both say what others of their class leave out: ``(D) 14`` is D, and so is ``(D) 15``."""
    answers = [read_answer(text) for text in (a, b)]
    return all(answer.tree is not None and (_label(answer.tree) or answer.unit) for answer in answers)


def test_no_pair_labelled_different_is_in_one_class() -> None:
    class_of = {text: number for number, members in enumerate(equal_classes()) for text in members}
    assert [pair for pair in CORPUS if not pair.equal and class_of[pair.a] == class_of[pair.b]] == []


def test_the_corpus_is_large_and_balanced_and_has_no_pair_twice() -> None:
    assert len(CORPUS) >= 700
    assert 0.5 < sum(pair.equal for pair in CORPUS) / len(CORPUS) < 0.68
    assert [pair for pair, count in Counter(frozenset((pair.a, pair.b)) for pair in CORPUS).items() if count > 1] == []
    for category in CATEGORIES:
        pairs = of(category)
        assert len(pairs) >= 12, category
        assert 0.3 < sum(pair.equal for pair in pairs) / len(pairs) < 0.85, category
    assert not [pair for pair in CORPUS if pair.a == pair.b and not pair.equal]


def test_a_judge_is_scored_by_category() -> None:
    pairs = [LabelledPair("x", "1", "1", True), LabelledPair("x", "1", "2", False), LabelledPair("y", "2", "2.0", True)]
    scores = accuracy_by_category(lambda a, b: a == b, pairs)
    assert (scores["x"].accuracy, scores["x"].wrong) == (1.0, ())
    assert (scores["y"].accuracy, scores["y"].wrong) == (0.0, (pairs[2],))
    assert describe(scores).splitlines()[-1].strip() == "66.7% of 3 pairs"


@pytest.mark.parametrize("line", ["same\t1\t1", "equal\t1", "equal\t1\t\treason", "equal\t1\t2\treason\tmore"])
def test_a_line_that_is_no_pair_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text(f"verdict\ta\tb\treason\n{line}\n")
    with pytest.raises(ValueError, match=r"x\.tsv:2"):
        load_corpus(tmp_path)
