"""Finding near-duplicates of a batch among themselves and among the questions of earlier iterations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from rzero_mega.coevolution.near_duplicates import Copies, find_copies
from tools.measurement import Peak, alternate

BATCH = 8_000
EARLIER = 24_000
COPIED = (0.2, 0.9)
_RANKS = range(1, 5_001)


@dataclass(frozen=True)
class Row:
    """A batch against itself and earlier questions, of which a share `copied` are copies but for one to three words."""

    questions: int
    earlier: int
    copied: float
    seconds: float
    nbytes: int
    repeated: int
    seen: int


@dataclass(frozen=True)
class NearDuplicates:
    """One row per share of copies."""

    rows: list[Row]


def run(repeats: int) -> NearDuplicates:
    """Measure."""
    return NearDuplicates([_measure(copied, repeats) for copied in COPIED])


def tables(result: NearDuplicates) -> Iterator[str]:
    """The result in Markdown."""
    yield "### Near-duplicates, words by Zipf's law"
    yield ""
    yield "| questions | earlier | near-copies made | processor | memory | found in the batch | among the earlier |"
    yield "|---|---|---|---|---|---|---|"
    for row in result.rows:
        cost = f"{row.seconds:.1f} s | {row.nbytes / (1 << 20):.0f} MB"
        yield f"| {row.questions} | {row.earlier} | {row.copied:.0%} | {cost} | {row.repeated} | {row.seen} |"


def _measure(copied: float, repeats: int) -> Row:
    texts = questions(EARLIER + BATCH, copied, Random(0))

    def find() -> Copies:
        return find_copies(texts[EARLIER:], texts[:EARLIER])

    with Peak() as peak:
        copies = find()
    seconds = alternate(repeats, {"ours": find})["ours"]
    repeated, seen = (sum(of is not None for of in found) for found in (copies.repeated, copies.seen))
    return Row(BATCH, EARLIER, copied, seconds, peak.nbytes, repeated, seen)


def questions(count: int, copied: float, rng: Random) -> list[str]:
    """Questions of 35 to 90 words, of which a share `copied` are earlier ones but for one to three words."""
    words, weights = [f"word{rank}" for rank in _RANKS], [1 / rank for rank in _RANKS]
    texts: list[list[str]] = []
    for _ in range(count):
        if texts and rng.random() < copied:
            text = list(rng.choice(texts))
            for _ in range(rng.randint(1, 3)):
                text[rng.randrange(len(text))] = str(rng.randint(1, 999))
        else:
            text = rng.choices(words, weights, k=rng.randint(35, 90))
        texts.append(text)
    return [" ".join(text) for text in texts]
