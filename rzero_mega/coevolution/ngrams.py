"""n-grams of many texts as numbers: what BLEU and the search for near-duplicates count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ngrams:
    """All n-grams of one order: one of number `numbers[k]` stands in text `texts[k]`, both [occurrences].

    Equal n-grams have equal numbers, from 0 without a gap. Texts ascend, and a text's n-grams are in its order.
    """

    texts: NDArray[np.int64]
    numbers: NDArray[np.int64]

    def features(self) -> NDArray[np.int64]:
        """A number for each pair of an n-gram and how often it stood before in its text, [occurrences].

        "the" for the first time is one feature, for the second time another. So texts have sets of features where they
        have multisets of n-grams: two share sum_g min(c_i(g), c_j(g)) of them.
        """
        order = np.argsort(self.texts * (int(self.numbers.max(initial=0)) + 1) + self.numbers, kind="stable")
        texts, numbers = self.texts[order], self.numbers[order]
        index = np.arange(len(order))
        new = np.ones(len(order), dtype=bool)
        new[1:] = (texts[1:] != texts[:-1]) | (numbers[1:] != numbers[:-1])
        before = np.empty_like(index)
        before[order] = index - np.maximum.accumulate(np.where(new, index, 0))
        return _renumbered(self.numbers * (int(before.max(initial=0)) + 1) + before)


def ngrams(token_lists: Sequence[Sequence[str]], max_order: int) -> Iterator[Ngrams]:
    """The n-grams of orders 1 to `max_order`. A text shorter than the order has none of it."""
    lengths = np.array([len(tokens) for tokens in token_lists], dtype=np.int64)
    vocabulary: dict[str, int] = {}
    tokens = np.array(
        [vocabulary.setdefault(token, len(vocabulary)) for tokens in token_lists for token in tokens], dtype=np.int64
    )
    texts = np.repeat(np.arange(len(lengths)), lengths)
    remaining = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))  # tokens from here to the text's end
    numbers, starts = tokens, np.arange(len(tokens))
    yield Ngrams(texts, numbers)
    for order in range(2, max_order + 1):
        inside = remaining[starts] >= order
        starts = starts[inside]
        # An n-gram is a shorter one and a further token; numbering the pairs anew keeps the numbers small.
        numbers = _renumbered(numbers[inside] * len(vocabulary) + tokens[starts + order - 1])
        yield Ngrams(texts[starts], numbers)


def _renumbered(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(np.unique(values, return_inverse=True)[1], dtype=np.int64).reshape(-1)
