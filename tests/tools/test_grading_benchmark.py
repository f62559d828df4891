"""The benchmark of graders: its load, how the others group, and one small run of everything."""

from __future__ import annotations

from collections import Counter

from rzero_mega.grading import GradingPool
from tests.grading.answer_corpus import LabelledPair
from tools.reward_benchmarks.grading import GRADERS, OURS, _group_pairwise, run, tables
from tools.reward_benchmarks.vote_load import vote_load


def test_the_load_is_drawn_from_its_seed_and_looks_like_votes() -> None:
    load = vote_load(400)
    assert load == vote_load(500)[:400] and load != vote_load(400, seed=1)
    assert {len(answers) for answers in load} == {10}
    answers = [answer for question in load for answer in question]
    assert 0.02 < answers.count(None) / len(answers) < 0.1
    with GradingPool(1, 10.0, 512) as pool:
        classes = pool.equivalence_classes(load)
    shares = [Counter(numbers).most_common(1)[0][1] / 10 for numbers in classes]
    spelt = [len({answer for answer in question if answer is not None}) for question in load]
    assert 0.5 < sum(shares) / len(shares) < 0.8
    assert sum(spelt) / len(spelt) > 1.3 * sum(len(set(numbers) - {None}) for numbers in classes) / len(classes)


def test_grouping_by_pairs_asks_about_each_pair_of_texts_once() -> None:
    asked: list[tuple[str, str]] = []

    def judge(a: str, b: str) -> bool:
        asked.append((a, b))
        return float(a) == float(b)

    assert _group_pairwise([["1", None, "2", "1.0", "1", "3"], ["1", "1.0"]], judge) == [[0, None, 1, 0, 0, 2], [0, 0]]
    assert asked == [("1", "2"), ("1", "1.0"), ("1", "3"), ("2", "3")]


def test_one_small_run_of_all_three_graders() -> None:
    corpus = [
        LabelledPair("numbers", "1/2", r"\frac{1}{2}", True),
        LabelledPair("numbers", "1", "2", False),
        LabelledPair("text", r"\text{yes}", "no", False),
    ]
    results = run(1, questions=8, sample=2, corpus=corpus)
    assert [row.grader for row in results.throughput] == list(GRADERS) == [row.grader for row in results.accuracy]
    for judged in results.accuracy:
        assert {category: pairs for category, (_, pairs) in judged.categories.items()} == {"numbers": 2, "text": 1}
        assert (judged.right, judged.pairs) == (3, 3)
    for row in results.throughput:
        assert row.measured == (8 if row.grader == OURS else 2) and row.pairs == results.throughput[0].pairs
        assert row.seconds > 0 and row.processor_seconds > 0 and row.pairs_per_second > 0
    assert sum(line.startswith("|") for line in tables(results)) == 2 + 3 + 2 + 2
