"""The repetition penalty's clusters of similar questions (R-Zero, arXiv 2508.05004, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.cluster import hierarchy
from scipy.sparse import csgraph

from rzero_mega.coevolution.bleu import TOKENIZERS, bleu_blocks


def bleu_distances(
    questions: Sequence[str], symmetric: bool = True, tokenizer: str = "whitespace"
) -> NDArray[np.float64]:
    """1 - BLEU of all pairs i < j in the condensed order of scipy, [n (n - 1) / 2].

    `symmetric` takes the mean of both directions; otherwise the earlier question is the hypothesis and the later the
    reference, as in the official code.
    """
    n = len(questions)
    distances = np.empty(n * (n - 1) // 2)
    starts = _row_starts(n)
    for block in bleu_blocks([TOKENIZERS[tokenizer](question) for question in questions]):
        bleu = (block.forward + block.backward) / 2 if symmetric else block.forward
        for index in range(block.rows.start, block.rows.stop):
            row = bleu[index - block.rows.start, index - block.rows.start + 1 :]
            np.subtract(1.0, row, out=distances[starts[index] : starts[index] + len(row)])
    return distances


def cluster_labels(
    questions: Sequence[str],
    symmetric: bool = True,
    distance_threshold: float = 0.5,
    tokenizer: str = "whitespace",
) -> list[int]:
    """Cluster number of each question: average linkage, merging while the distance is below the threshold.

    Equal to scikit-learn's AgglomerativeClustering(linkage="average", metric="precomputed") on the same distances, but
    numbered in order of first appearance. Two identical questions are apart, at distance 0.82 and 0.68, if they have
    only one or two tokens; an empty text is at distance 1 from everything, another empty text included.
    """
    distances = bleu_distances(questions, symmetric, tokenizer)
    labels = np.arange(len(questions))
    for component in _components(distances, len(questions), distance_threshold):
        tree = hierarchy.linkage(distances[_pairs_within(component, len(questions))], method="average")
        # fcluster merges up to and including its threshold; the definition merges strictly below.
        below = np.nextafter(distance_threshold, -np.inf)
        # A cluster is called after the first of its members.
        _, first, cluster = np.unique(
            hierarchy.fcluster(tree, below, criterion="distance"), return_index=True, return_inverse=True
        )
        labels[component] = component[first][cluster]
    return [int(label) for label in np.unique(labels, return_inverse=True)[1]]


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


def _components(distances: NDArray[np.float64], n: int, distance_threshold: float) -> Iterator[NDArray[np.int64]]:
    """Indices, ascending, of each set of two or more texts that chains of distances below the threshold join.

    No cluster of average linkage reaches across two of them: where every distance between two groups is at least the
    threshold, so is their average. What is left to cluster is small wherever questions differ.
    """
    below = np.flatnonzero(distances < distance_threshold)
    starts = _row_starts(n)
    rows = np.searchsorted(starts, below, side="right") - 1
    columns = below - starts[rows] + rows + 1
    graph = sparse.coo_array((np.ones(len(below), dtype=bool), (rows, columns)), shape=(n, n))
    _, labels = csgraph.connected_components(graph, directed=False)
    by_component = np.argsort(labels, kind="stable")
    for component in np.split(by_component, np.flatnonzero(np.diff(labels[by_component])) + 1):
        if len(component) > 1:
            yield component


def _row_starts(n: int) -> NDArray[np.int64]:
    """Where each text's distances to later ones start in the condensed order, [n]; the last has none."""
    rows = np.arange(n)
    return rows * (2 * n - rows - 1) // 2


def _pairs_within(component: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Positions in the condensed order of all pairs of `component`, in the condensed order of the component."""
    rows, columns = np.triu_indices(len(component), k=1)
    return _row_starts(n)[component[rows]] + component[columns] - component[rows] - 1
