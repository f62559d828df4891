from __future__ import annotations

import pytest

from rzero_mega.coevolution.diversity import clusters_per_question, distinct_ngrams, unique_share
from rzero_mega.coevolution.repetition import cluster_labels


def test_unique_share_ignores_whitespace() -> None:
    assert unique_share(["a b", " a  b\n", "c", "C"]) == 0.75
    assert unique_share([]) == 0.0


def test_distinct_ngrams_count_each_once() -> None:
    assert distinct_ngrams(["a b c", "a b d"]) == 3 / 4
    assert distinct_ngrams(["a a a"], order=1) == pytest.approx(1 / 3)
    assert distinct_ngrams(["12", "12"], tokenizer="character") == 0.5
    assert distinct_ngrams(["word"]) == 0.0


def test_clusters_per_question_falls_with_repetition() -> None:
    same, other = "how many primes lie below ten", "find the area of this large circle"
    assert clusters_per_question(cluster_labels([same, same, other, same])) == 0.5
    assert clusters_per_question(cluster_labels([same, other])) == 1.0
    assert clusters_per_question([]) == 0.0
