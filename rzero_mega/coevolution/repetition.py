"""The repetition penalty's clusters of similar questions (R-Zero, arXiv 2508.05004, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster import hierarchy

from rzero_mega.coevolution.bleu import TOKENIZERS, bleu_matrix


def bleu_distances(
    questions: Sequence[str], symmetric: bool = True, tokenizer: str = "whitespace"
) -> NDArray[np.float64]:
    """1 - BLEU of all pairs i < j in the condensed order of scipy, [n (n - 1) / 2].

    `symmetric` takes the mean of both directions; otherwise the earlier question is the hypothesis and the later the
    reference, as in the official code.
    """
    bleu = bleu_matrix([TOKENIZERS[tokenizer](question) for question in questions])
    if symmetric:
        bleu = (bleu + bleu.T) / 2
    n = len(questions)
    distances = np.empty(n * (n - 1) // 2)
    offset = 0
    for row in range(n - 1):
        width = n - 1 - row
        distances[offset : offset + width] = 1.0 - bleu[row, row + 1 :]
        offset += width
    return distances


def cluster_labels(
    questions: Sequence[str],
    symmetric: bool = True,
    distance_threshold: float = 0.5,
    tokenizer: str = "whitespace",
) -> list[int]:
    """Cluster number of each question: average linkage, merging while the distance is below the threshold.

    Equal to scikit-learn's AgglomerativeClustering(linkage="average", metric="precomputed") on the same distances. Two
    identical questions are apart, at distance 0.82 and 0.68, if they have only one or two tokens; an empty text is at
    distance 1 from everything, another empty text included.
    """
    if len(questions) < 2:
        return [0] * len(questions)
    tree = hierarchy.linkage(bleu_distances(questions, symmetric, tokenizer), method="average")
    # fcluster merges up to and including its threshold; the definition merges strictly below.
    below = np.nextafter(distance_threshold, -np.inf)
    return [int(label) - 1 for label in hierarchy.fcluster(tree, below, criterion="distance")]


def cluster_shares(
    questions: Sequence[str],
    symmetric: bool = True,
    distance_threshold: float = 0.5,
    tokenizer: str = "whitespace",
) -> list[float]:
    """|C_k| / B for each of the B questions, C_k being its cluster."""
    labels = cluster_labels(questions, symmetric, distance_threshold, tokenizer)
    sizes = np.bincount(np.array(labels, dtype=np.int64)) if labels else np.zeros(0, dtype=np.int64)
    return [int(sizes[label]) / len(labels) for label in labels]
