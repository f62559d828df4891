"""Sentence BLEU of every text against every other, equal to NLTK's `sentence_bleu` with smoothing method 1.

n-gram matches of a pair are sum_g min(c_i(g), c_j(g)). With one binary feature per n-gram and occurrence ("the" for
the first time, for the second time, …) that is a matrix product, and thousands of texts take seconds, not minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

MAX_ORDER = 4
SMOOTHING = 0.1
"""Count that stands in for zero matches (method 1 of Chen and Cherry, 2014; NLTK's epsilon)."""

_BLOCK_ROWS = 256
_DENSE_SHARE = 8  # n-grams in more than one of so many texts are multiplied densely: a sparse product is slower there


def whitespace_tokens(text: str) -> list[str]:
    """Words, as the official code splits them. An expression such as ``12*3+4`` is one token."""
    return text.split()


def character_tokens(text: str) -> list[str]:
    """Characters other than whitespace: for worlds whose questions are shorter than a few words."""
    return list("".join(text.split()))


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {"whitespace": whitespace_tokens, "character": character_tokens}
"""By the name that challenger.reward.repetition.tokenizer gives."""


@dataclass(frozen=True)
class _Order:
    """n-grams of one order: binary features, the frequent ones dense, and per text the number of n-grams or 1."""

    rare: Any  # scipy CSR array, [texts, features]
    frequent: NDArray[np.float32]
    counts: NDArray[np.float64]

    def matches(self, rows: slice) -> NDArray[np.float64]:
        """Clipped matches of a block of texts with all texts, [rows, texts]. Exact: counts stay far below 2**24."""
        dense = self.frequent[rows] @ self.frequent.T
        return np.asarray(dense + (self.rare[rows] @ self.rare.T).toarray(), dtype=np.float64)


def bleu_matrix(token_lists: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """BLEU-4 of hypothesis i against reference j at [i, j], [texts, texts].

    Without a matching word it is 0. Other orders without a match count 0.1 matches, so that a text of fewer than four
    tokens scores below 1 against itself: 0.178, 0.316 and 0.562 for one, two and three tokens.
    """
    lengths = np.array([len(tokens) for tokens in token_lists], dtype=np.int64)
    matrix = np.zeros((len(lengths), len(lengths)))
    orders = list(_orders(token_lists, lengths))
    for start in range(0, len(lengths), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        log_bleu = _log_brevity_penalty(lengths[rows], lengths)
        for order in orders:
            matches = order.matches(rows)
            if order is orders[0]:
                log_bleu[matches == 0] = -np.inf
            precision = np.where(matches > 0, matches, SMOOTHING) / order.counts[rows, None]
            log_bleu += np.log(precision) / MAX_ORDER
        matrix[rows] = np.exp(log_bleu)
    return matrix


def _log_brevity_penalty(hypothesis: NDArray[np.int64], reference: NDArray[np.int64]) -> NDArray[np.float64]:
    """0 for a longer hypothesis, else 1 - r/h, [hypotheses, references]. Of an empty one any value does: BLEU is 0."""
    ratio = reference[None, :] / np.maximum(hypothesis, 1)[:, None]
    return np.minimum(0.0, 1.0 - ratio)


def _orders(token_lists: Sequence[Sequence[str]], lengths: NDArray[np.int64]) -> Iterator[_Order]:
    vocabulary: dict[str, int] = {}
    tokens = np.array(
        [vocabulary.setdefault(token, len(vocabulary)) for tokens in token_lists for token in tokens], dtype=np.int64
    )
    texts = np.repeat(np.arange(len(lengths)), lengths)
    remaining = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))  # tokens from here to the text's end
    grams, starts = tokens, np.arange(len(tokens))
    for order in range(1, MAX_ORDER + 1):
        if order > 1:
            inside = remaining[starts] >= order
            starts = starts[inside]
            # An n-gram is a shorter one and a further token; numbering the pairs anew keeps the numbers small.
            pairs = grams[inside] * len(vocabulary) + tokens[starts + order - 1]
            grams = np.unique(pairs, return_inverse=True)[1].reshape(-1)
        yield _order(texts[starts], grams, np.maximum(1, lengths - order + 1))


def _order(texts: NDArray[np.int64], grams: NDArray[np.int64], counts: NDArray[np.int64]) -> _Order:
    by_text = np.lexsort((grams, texts))
    texts, grams = texts[by_text], grams[by_text]
    index = np.arange(len(grams))
    new = np.ones(len(grams), dtype=bool)
    new[1:] = (texts[1:] != texts[:-1]) | (grams[1:] != grams[:-1])
    occurrence = index - np.maximum.accumulate(np.where(new, index, 0))
    bound = int(occurrence.max(initial=0)) + 1
    features = np.unique(grams * bound + occurrence, return_inverse=True)[1].reshape(-1)
    found_in = np.bincount(features)
    n = len(counts)
    frequent = found_in > max(1, n // _DENSE_SHARE)
    rare = sparse.csr_array((np.ones(len(texts), dtype=np.float32), (texts, features)), shape=(n, len(found_in)))
    # The diagonal is not zeroed: an n-gram found in a single text matches that text itself.
    return _Order(rare[:, ~frequent], rare[:, frequent].toarray(), counts.astype(np.float64))
