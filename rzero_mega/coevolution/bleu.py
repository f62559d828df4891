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
    rare_transposed: Any  # scipy CSR array, [features, texts]
    frequent: NDArray[np.float32]
    counts: NDArray[np.float64]

    def matches(self, rows: slice) -> NDArray[np.float32]:
        """Clipped matches of a block of texts with the texts from rows.start on, [rows, texts - rows.start].

        Exact in single precision: counts stay far below 2**24.
        """
        matches: NDArray[np.float32] = self.frequent[rows] @ self.frequent[rows.start :].T
        matches += (self.rare[rows] @ self.rare_transposed).toarray()[:, rows.start :]
        return matches


@dataclass(frozen=True)
class BleuBlock:
    """BLEU-4 between the texts `rows` and the texts from rows.start on, both [rows, texts - rows.start].

    What stands for a text with itself is of no meaning.
    """

    rows: slice
    forward: NDArray[np.float64]
    """The text of the row is the hypothesis, that of the column the reference."""
    backward: NDArray[np.float64]
    """The text of the column is the hypothesis."""


def bleu_blocks(token_lists: Sequence[Sequence[str]]) -> Iterator[BleuBlock]:
    """BLEU-4 of all pairs of texts, a block of rows at a time, so that memory is linear in the number of texts.

    Without a matching word it is 0. Other orders without a match count 0.1 matches, so that a text of fewer than four
    tokens scores below 1 against itself: 0.178, 0.316 and 0.562 for one, two and three tokens.
    """
    lengths = np.array([len(tokens) for tokens in token_lists], dtype=np.int64)
    orders = list(_orders(token_lists, lengths))
    # BLEU is brevity * (m1 m2 m3 m4)^(1/4) / (c1 c2 c3 c4)^(1/4). The matches m are those of the pair, whichever of the
    # two is the hypothesis; its counts c are its own. Square roots are cheaper than logarithms.
    own = _fourth_root(np.prod([order.counts for order in orders], axis=0))
    for start in range(0, len(lengths), _BLOCK_ROWS):
        rows = slice(start, min(start + _BLOCK_ROWS, len(lengths)))
        shared = _fourth_root(_product_of_matches(orders, rows))
        row, column = lengths[rows, None], lengths[None, start:]
        yield BleuBlock(
            rows,
            shared * _brevity_penalty(row, column) / own[rows, None],
            shared * _brevity_penalty(column, row) / own[None, start:],
        )


def _product_of_matches(orders: Sequence[_Order], rows: slice) -> NDArray[np.float64]:
    product = orders[0].matches(rows).astype(np.float64)
    for order in orders[1:]:
        matches = order.matches(rows)
        product *= np.maximum(matches, np.float64(SMOOTHING))  # a count of matches is 0 or at least 1
    return product


def _fourth_root(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.sqrt(values))


def _brevity_penalty(hypothesis: NDArray[np.int64], reference: NDArray[np.int64]) -> NDArray[np.float64]:
    """exp(1 - r/h) for a shorter hypothesis, else 1, broadcast. Of an empty one any value does: its BLEU is 0."""
    return np.exp(np.minimum(0.0, 1.0 - reference / np.maximum(hypothesis, 1)))


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
    by_text = np.argsort(texts * (int(grams.max(initial=0)) + 1) + grams)
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
    found = sparse.csr_array((np.ones(len(texts), dtype=np.float32), (texts, features)), shape=(n, len(found_in)))
    rare = found[:, (found_in > 1) & ~frequent]  # what one text alone contains matches no other
    return _Order(rare, rare.T.tocsr(), found[:, frequent].toarray(), counts.astype(np.float64))
