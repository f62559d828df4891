from __future__ import annotations

import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from scipy.spatial.distance import squareform
from sklearn.cluster import AgglomerativeClustering

from rzero_mega.coevolution import bleu
from rzero_mega.coevolution.bleu import bleu_blocks, character_tokens, whitespace_tokens
from rzero_mega.coevolution.repetition import bleu_distances, cluster_labels, cluster_shares

texts = st.lists(st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=12).map(" ".join), min_size=2, max_size=8)


def nltk_bleu(hypothesis: list[str], reference: list[str]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(sentence_bleu([reference], hypothesis, smoothing_function=SmoothingFunction().method1))


def partition(labels: list[int]) -> set[frozenset[int]]:
    members: dict[int, set[int]] = defaultdict(set)
    for index, label in enumerate(labels):
        members[label].add(index)
    return {frozenset(group) for group in members.values()}


def bleu_of_pairs(token_lists: list[list[str]]) -> np.ndarray:
    """BLEU of hypothesis i against reference j at [i, j], put together from the blocks; 0 on the diagonal."""
    matrix = np.zeros((len(token_lists), len(token_lists)))
    for block in bleu_blocks(token_lists):
        later = np.arange(block.rows.start, len(token_lists))[None, :] > np.arange(len(token_lists))[block.rows, None]
        matrix[block.rows, block.rows.start :] += np.where(later, block.forward, 0)
        matrix[block.rows.start :, block.rows] += np.where(later, block.backward, 0).T
    return matrix


def nltk_pairs(token_lists: list[list[str]]) -> np.ndarray:
    matrix = np.array([[nltk_bleu(hypothesis, reference) for reference in token_lists] for hypothesis in token_lists])
    np.fill_diagonal(matrix, 0)
    return matrix


def nltk_distances(questions: list[str], symmetric: bool) -> np.ndarray:
    """Straight from the definition: the earlier as hypothesis, or the mean of both directions; mirrored, [n, n]."""
    matrix = nltk_pairs([question.split() for question in questions])
    similarity = (matrix + matrix.T) / 2 if symmetric else np.triu(matrix) + np.triu(matrix).T
    distances = 1 - similarity
    np.fill_diagonal(distances, 0)
    return distances


def official_labels(questions: list[str], threshold: float = 0.5) -> list[int]:
    return fit(nltk_distances(questions, symmetric=False), threshold)


def fit(distances: np.ndarray, threshold: float) -> list[int]:
    model = AgglomerativeClustering(
        n_clusters=None, distance_threshold=threshold, metric="precomputed", linkage="average"
    )
    return list(model.fit_predict(distances))


def paraphrases(seed: int, families: int, per_family: int) -> list[str]:
    """Sentences in families that share most of their words, so that distances lie on both sides of the threshold."""
    rng = random.Random(seed)
    words = [f"w{index}" for index in range(60)]
    questions = []
    for _ in range(families):
        stem = rng.choices(words, k=rng.randint(6, 20))
        for _ in range(per_family):
            questions.append(" ".join(word if rng.random() < 0.85 else rng.choice(words) for word in stem))
    rng.shuffle(questions)
    return questions


@pytest.mark.parametrize("tokenize", [whitespace_tokens, character_tokens])
@given(questions=texts)
def test_bleu_equals_nltk_with_smoothing_method_1(tokenize: Callable[[str], list[str]], questions: list[str]) -> None:
    tokens = [tokenize(question) for question in questions]
    np.testing.assert_allclose(bleu_of_pairs(tokens), nltk_pairs(tokens), rtol=0, atol=1e-9)


def test_bleu_equals_nltk_when_frequent_and_rare_words_and_several_blocks_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bleu, "_BLOCK_ROWS", 7)
    tokens = [question.split() for question in paraphrases(seed=1, families=10, per_family=4)]
    tokens += [["the"] * length + ["w1"] for length in range(5)]
    np.testing.assert_allclose(bleu_of_pairs(tokens), nltk_pairs(tokens), rtol=0, atol=1e-9)


def long_texts() -> list[str]:
    """Texts of 4,096 tokens and near them, two of them alike, one word in all places among them."""
    rng = random.Random(5)
    stem = [f"w{int(rng.paretovariate(0.7)) % 900}" for _ in range(4_096)]
    alike = [word if rng.random() < 0.97 else "x" for word in stem]
    return [" ".join(words) for words in (stem, alike, stem[:2_000], rng.sample(stem, 4_096), ["the"] * 4_096)]


CHINESE = [
    "一个 班级 有 三十 名 学生 , 其中 十八 名 是 女生 , 男生 有 多少 名 ?",
    "一个 班级 有 四十 名 学生 , 其中 十八 名 是 女生 , 男生 有 多少 名 ?",
    "小明 有 五 个 苹果 , 吃 了 两 个 , 还 剩 几 个 ?",
    "求 方程 x^2 - 5x + 6 = 0 的 所有 实数 解 。",
    "一个班级有三十名学生，其中十八名是女生，男生有多少名？",
    "一个班级有三十名学生，其中十八名是女生，男生有多少名？",
]
BATCHES = {
    "random": [" ".join(random.Random(n).choices("abcdefghij", k=n % 17 + 1)) for n in range(40)],
    "near-duplicate": paraphrases(seed=2, families=6, per_family=7),
    "empty": ["", "", "a b c d e", "", "a b c d e", " "],
    "one word": ["a", "a", "b", "12*3+4", "12*3+4", "a b c d e"],
    "4,096 tokens": long_texts(),
    "Chinese": CHINESE,
    "identical": ["how many apples are there in the box"] * 12,
    "a chain": [" ".join(f"w{index}" for index in range(start, start + 12)) for start in range(0, 40, 2)],
}


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("batch", BATCHES)
def test_distances_and_clusters_equal_nltk_and_scikit_learn(batch: str, symmetric: bool) -> None:
    questions = BATCHES[batch]
    expected = nltk_distances(questions, symmetric)
    np.testing.assert_allclose(squareform(bleu_distances(questions, symmetric)), expected, rtol=0, atol=1e-9)
    assert partition(cluster_labels(questions, symmetric)) == partition(fit(expected, 0.5))


@given(texts)
def test_clusters_are_numbered_in_the_order_of_their_first_members(questions: list[str]) -> None:
    labels = cluster_labels(questions)
    assert list(dict.fromkeys(labels)) == list(range(len(set(labels))))


@given(texts, st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 0.8, 1.0]))
def test_clusters_equal_scikit_learn_on_the_same_distances(
    questions: list[str], symmetric: bool, threshold: float
) -> None:
    expected = fit(squareform(bleu_distances(questions, symmetric)), threshold)
    assert partition(cluster_labels(questions, symmetric, threshold)) == partition(expected)


@pytest.mark.parametrize("seed", range(4))
def test_the_asymmetric_form_is_the_official_pipeline(seed: int) -> None:
    questions = paraphrases(seed, families=8, per_family=5)
    expected = official_labels(questions)
    assert 1 < len(set(expected)) < len(questions)
    assert partition(cluster_labels(questions, symmetric=False)) == partition(expected)


def test_distances_are_symmetric_in_the_order_of_a_pair_only_if_asked() -> None:
    short, long = "a b c d e", "a b c d e f g h i j"
    forward, backward = nltk_bleu(short.split(), long.split()), nltk_bleu(long.split(), short.split())
    assert forward != backward
    assert bleu_distances([short, long], symmetric=False) == pytest.approx([1 - forward])
    assert bleu_distances([long, short], symmetric=False) == pytest.approx([1 - backward])
    for pair in ([short, long], [long, short]):
        assert bleu_distances(pair) == pytest.approx([1 - (forward + backward) / 2])


@given(texts.flatmap(lambda questions: st.tuples(st.just(questions), st.permutations(range(len(questions))))))
def test_symmetric_distances_do_not_depend_on_the_order_of_the_batch(case: tuple[list[str], list[int]]) -> None:
    questions, order = case
    before = squareform(bleu_distances(questions))
    after = squareform(bleu_distances([questions[index] for index in order]))
    np.testing.assert_allclose(after, before[np.ix_(order, order)], atol=1e-12)


@pytest.mark.parametrize(
    ("question", "distance", "together"),
    [
        ("12*3+4", 0.8222, False),
        ("12 apples", 0.6838, False),
        ("how many apples", 0.4377, True),
        ("a b c d", 0.0, True),
    ],
)
def test_identical_questions_of_one_or_two_words_are_apart_as_in_nltk(
    question: str, distance: float, together: bool
) -> None:
    assert bleu_distances([question, question]) == pytest.approx([distance], abs=1e-4)
    assert (cluster_shares([question, question]) == [1.0, 1.0]) == together


def test_over_characters_identical_expressions_are_together() -> None:
    shares = cluster_shares(["12*3+4", "12*3+4", "7 - 2 - 1", "7-2-1", "995+1"], tokenizer="character")
    assert shares == [0.4, 0.4, 0.4, 0.4, 0.2]


def test_empty_texts_are_alike_to_nothing() -> None:
    assert list(bleu_distances(["", "", "a b c d"])) == [1.0, 1.0, 1.0]
    assert cluster_shares(["", "", "a b c d"]) == [1 / 3] * 3


def test_a_distance_equal_to_the_threshold_does_not_merge() -> None:
    distance = float(bleu_distances(["a b c d e", "a b c d f"])[0])
    assert len(set(cluster_labels(["a b c d e", "a b c d f"], distance_threshold=distance))) == 2
    assert len(set(cluster_labels(["a b c d e", "a b c d f"], distance_threshold=distance + 1e-12))) == 1


def test_shares_of_small_batches() -> None:
    assert cluster_shares([]) == []
    assert cluster_shares(["only one"]) == [1.0]
    assert cluster_shares(["a b c d", "e f g h"]) == [0.5, 0.5]


@given(texts)
def test_shares_are_cluster_sizes_over_the_batch(questions: list[str]) -> None:
    labels, shares = cluster_labels(questions), cluster_shares(questions)
    sizes = Counter(labels)
    assert shares == [sizes[label] / len(questions) for label in labels]
    assert sum(1 / (share * len(questions)) for share in shares) == pytest.approx(len(sizes))


def test_a_whole_step_of_2048_questions_is_clustered() -> None:
    questions = paraphrases(seed=0, families=256, per_family=8)
    shares = cluster_shares(questions)
    assert len(shares) == 2048
    assert 2 / 2048 < sum(shares) / len(shares) < 9 / 2048
