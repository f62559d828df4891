"""Near-duplicates of a batch of questions, among themselves and of those of earlier iterations. Exact, not sampled.

Two texts are near-duplicates if the Jaccard similarity of their shingles reaches a threshold (Broder, "On the
resemblance and containment of documents", 1997). A shingle is a run of tokens, and one that occurs twice counts twice
(as in the BLEU of `repetition`), so that ``12+12+12`` is another text than ``12+12``.

Candidates come from an inverted index over prefixes (Bayardo, Ma and Srikant, "Scaling up all pairs similarity search",
2007): with shingles ordered from rare to frequent, similar texts must share one of their first few. That finds every
pair, needs no random permutations, and touches the frequent shingles ("what is the") of no text at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from rzero_mega.coevolution.bleu import TOKENIZERS
from rzero_mega.coevolution.ngrams import ngrams

Shingles = tuple[int, ...]
"""A text's shingles as numbers, each once, from the rarest to the most frequent one of all texts."""


@dataclass(frozen=True)
class Copies:
    """For each text the first one that it is a near-duplicate of, None where there is none.

    `seen[i]` is an index of an earlier iteration's texts. `repeated[i]` is an index of the batch itself, smaller than
    i, of a text that repeats no other: texts that repeat none are pairwise below the threshold, and each of the rest is
    close to one of them.
    """

    seen: tuple[int | None, ...]
    repeated: tuple[int | None, ...]


def find_copies(
    texts: Sequence[str],
    earlier: Sequence[str] = (),
    threshold: float = 0.8,
    shingle: int = 3,
    tokenizer: str = "whitespace",
) -> Copies:
    """Compare each text with the earlier ones and with those before it in the batch.

    `threshold` in (0, 1] is read as the decimal it is written as. A text of fewer than `shingle` tokens is one shingle,
    so that it equals only itself; case is ignored; a text without tokens resembles nothing.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold {threshold} is not in (0, 1]")
    least = Fraction(repr(float(threshold)))
    ordered = _rare_first([TOKENIZERS[tokenizer](text.casefold()) for text in (*earlier, *texts)], shingle)
    known = _Index(least)
    for number, shingles in enumerate(ordered[: len(earlier)]):
        known.add(number, shingles)
    batch = _Index(least)
    seen, repeated = [], []
    for number, shingles in enumerate(ordered[len(earlier) :]):
        seen.append(known.first_similar(shingles))
        repeated.append(batch.first_similar(shingles))
        if repeated[-1] is None:
            batch.add(number, shingles)
    return Copies(tuple(seen), tuple(repeated))


def _rare_first(token_lists: Sequence[Sequence[str]], size: int) -> list[Shingles]:
    """Number all texts' shingles and order each text's by how many occurrences all texts have of them."""
    # What fills a text up to one shingle is no token: no tokenizer gives an empty one.
    filled = [[*tokens, *[""] * (size - len(tokens))] if tokens else tokens for tokens in token_lists]
    *_, shingles = ngrams(filled, size)
    features = shingles.features()
    # Ties by number, which is the order of first sight of the tokens: the same on every machine.
    by_text = np.lexsort((features, np.bincount(features)[features], shingles.texts))
    ordered = features[by_text].tolist()
    bounds = np.searchsorted(shingles.texts, np.arange(len(filled) + 1)).tolist()
    return [tuple(ordered[first:last]) for first, last in pairwise(bounds)]


class _Index:
    """Texts by the shingles of their prefixes."""

    def __init__(self, least: Fraction) -> None:
        self._least = least
        self._texts: dict[int, frozenset[int]] = {}
        self._by_shingle: dict[int, list[int]] = {}

    def add(self, number: int, shingles: Shingles) -> None:
        """Numbers must grow from call to call."""
        self._texts[number] = frozenset(shingles)
        for shingle in shingles[: self._prefix(len(shingles))]:
            self._by_shingle.setdefault(shingle, []).append(number)

    def first_similar(self, shingles: Shingles) -> int | None:
        """The smallest number whose text is similar; None where there is none."""
        candidates: set[int] = set()
        for shingle in shingles[: self._prefix(len(shingles))]:
            candidates.update(self._by_shingle.get(shingle, ()))
        ours = frozenset(shingles)
        return next((number for number in sorted(candidates) if self._similar(ours, self._texts[number])), None)

    def _prefix(self, size: int) -> int:
        """How many shingles to look at: of a set that shares `needed` at least, no more than the rest can be others."""
        needed = -(-self._least.numerator * size // self._least.denominator)
        return size - needed + 1 if size else 0

    def _similar(self, one: frozenset[int], other: frozenset[int]) -> bool:
        top, bottom = self._least.numerator, self._least.denominator
        smaller, larger = sorted((len(one), len(other)))
        if smaller * bottom < top * larger:
            return False
        common = len(one & other)
        return common * bottom >= top * (smaller + larger - common)
