"""What earlier iterations asked, to tell how close a new question comes to it.

The repetition penalty looks at one step, so a Challenger may go round in circles over iterations (R-Diverse, arXiv
2602.13103, whose memory-augmented penalty this is, but for what stands below). Similarity is the Jaccard similarity of
shingles, as in `near_duplicates`, and only the greatest counts:

- R-Diverse compares embeddings of programs that a second model writes. That takes two more models on the servers, and
  programs for questions in mathematics alone. Shingles see wording, not skill.
- R-Diverse also penalises a high mean similarity to the memory. The mean Jaccard similarity of different texts is near
  0, whatever they are about.

BLEU, which the repetition penalty counts by, has no index: every question would be held against the whole memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rzero_mega.coevolution.bleu import TOKENIZERS
from rzero_mega.coevolution.checks.templates import template
from rzero_mega.config.schema import MemoryConfig, RepetitionConfig

_BLOCK = 64
"""Questions that are looked up at a time: bounds the memory of their candidates."""


class QuestionMemory:
    """An index of texts by their shingles.

    Candidates come from prefixes, as in `near_duplicates`: with shingles ordered from rare to frequent, two texts that
    reach the threshold share one among the first few of both. Here both sides are sparse matrices, [texts, shingles],
    columns in that order: candidates are the entries of a product of prefixes, and work goes with their number.
    """

    def __init__(self, texts: Iterable[str], config: MemoryConfig, repetition: RepetitionConfig) -> None:
        """Texts of fewer than `config.shingle` tokens resemble only themselves; without any token, nothing.

        Numbers and tokens are taken as `repetition` says.
        """
        self._config, self._repetition = config, repetition
        found = [self._shingles(text) for text in dict.fromkeys(texts)]
        counts = Counter(number for shingles in found for number in shingles)
        # Ties by number: the order is the same on every machine.
        by_rarity = sorted(counts, key=lambda number: (counts[number], number))
        self._columns = {number: column for column, number in enumerate(by_rarity)}
        self._known = self._matrix(found)
        self._sizes = np.array([len(shingles) for shingles in found], dtype=np.int64)
        self._prefixes = self._prefix(self._known, self._sizes).T.tocsr()

    def similarities(self, texts: Sequence[str]) -> list[float]:
        """How similar each text is to the text of the memory that it is most similar to; 0 below the threshold."""
        found = [self._shingles(text) for text in texts]
        return [value for start in range(0, len(texts), _BLOCK) for value in self._best(found[start : start + _BLOCK])]

    def _best(self, found: Sequence[Sequence[int]]) -> Iterator[float]:
        asked, sizes = self._matrix(found), np.array([len(shingles) for shingles in found], dtype=np.int64)
        candidates = (self._prefix(asked, sizes) @ self._prefixes).tocoo()
        ours, theirs = candidates.row, candidates.col
        common = np.asarray(asked[ours].multiply(self._known[theirs]).sum(axis=1)).reshape(-1)
        similar = common / (sizes[ours] + self._sizes[theirs] - common)
        best = np.zeros(len(found))
        np.maximum.at(best, ours, np.where(similar >= self._config.threshold, similar, 0.0))
        return (float(value) for value in best)

    def _shingles(self, text: str) -> list[int]:
        """Fingerprints of the text's shingles; one that stands there twice has two, as in `Ngrams.features`.

        64 bits: of the 5 million shingles of 80,000 questions, two are mistaken for each other once in a million runs.
        """
        masked = template(text) if self._repetition.mask_numbers else text.casefold()
        tokens = TOKENIZERS[self._repetition.tokenizer](masked)
        if not tokens:
            return []
        filled = [*tokens, *[""] * (self._config.shingle - len(tokens))]
        seen: Counter[str] = Counter()
        numbers = []
        for start in range(len(filled) - self._config.shingle + 1):
            words = " ".join(filled[start : start + self._config.shingle])
            name = f"{seen[words]} {words}".encode("utf-8", "surrogatepass")
            numbers.append(int.from_bytes(blake2b(name, digest_size=8).digest(), "big"))
            seen[words] += 1
        return numbers

    def _matrix(self, found: Sequence[Sequence[int]]) -> Any:
        """1 where a text has a shingle that the memory knows, [texts, shingles of the memory], as a CSR array."""
        known = [sorted(self._columns[number] for number in one if number in self._columns) for one in found]
        starts = np.cumsum([0, *map(len, known)])
        columns = np.array([column for one in known for column in one], dtype=np.int64)
        shape = (len(found), len(self._columns))
        return sparse.csr_array((np.ones(len(columns), dtype=np.int32), columns, starts), shape=shape)

    def _prefix(self, matrix: Any, sizes: NDArray[np.int64]) -> Any:
        """The matrix without all but the rarest shingles of each text.

        Of a text of n shingles a similar one has n·threshold at least, so that it can't miss more than the others. The
        text's shingles that the memory doesn't know are rarer still: the prefix begins with them.
        """
        known = np.diff(matrix.indptr)
        longest = np.where(sizes > 0, sizes - np.ceil(sizes * self._config.threshold - 1e-9) + 1, 0)
        taken = np.clip(longest - (sizes - known), 0, known)
        place = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], known)
        inside = place < np.repeat(taken, known)
        starts = np.concatenate([[0], np.cumsum(taken)]).astype(np.int64)
        return sparse.csr_array((matrix.data[inside], matrix.indices[inside], starts), shape=matrix.shape)
