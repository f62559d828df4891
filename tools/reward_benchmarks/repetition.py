"""The repetition penalty of a step against NLTK and scikit-learn, as the official code computes it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from numpy.typing import NDArray
from scipy.spatial.distance import squareform
from sklearn.cluster import AgglomerativeClustering

from rzero_mega.coevolution.repetition import bleu_distances, cluster_labels
from tools.measurement import Peak, alternate
from tools.reward_benchmarks.questions import WORDS, questions

STEP = 2_048
FULL = 256
SAMPLE_PAIRS = 4_000
SIZES = (512, 1_024, 2_048, 4_096, 8_192)
THRESHOLD = 0.5
SMOOTHING = SmoothingFunction().method1


@dataclass(frozen=True)
class Full:
    """Everything computed in both ways. `difference` is the largest between two distances."""

    questions: int
    clusters: int
    ours_s: float
    theirs_s: float
    difference: float
    same_clusters: bool


@dataclass(frozen=True)
class Growth:
    """A batch of this size. `nltk_s` is extrapolated: the mean over sampled pairs times the number of pairs."""

    questions: int
    clusters: int
    ours_s: float
    ours_wall_s: float
    ours_nbytes: int
    nltk_s: float


@dataclass(frozen=True)
class Repetition:
    """All figures; seconds are of the processor, with one thread, medians of `repeats` for ours.

    nltk_pair_s: mean over `sample_pairs` pairs of the step. scikit_learn_s: clustering the whole step, measured.
    """

    repeats: int
    sample_pairs: int
    nltk_pair_s: float
    scikit_learn_s: float
    full: Full
    growth: list[Growth]

    @property
    def step(self) -> Growth:
        """The batch of R-Zero's size."""
        return next(row for row in self.growth if row.questions == STEP)

    @property
    def ratio(self) -> float:
        """Seconds of NLTK (extrapolated) and scikit-learn (measured) per second of ours, for a step."""
        return (self.step.nltk_s + self.scikit_learn_s) / self.step.ours_s


def run(repeats: int) -> Repetition:
    """Measure. All ways take the official asymmetry, with which NLTK has one direction per pair to compute."""
    pair_s = _nltk_pair_s(questions(STEP))
    growth = [_growth(size, pair_s, repeats) for size in SIZES]
    step = squareform(bleu_distances(questions(STEP), symmetric=False))
    start = time.process_time()
    _scikit_learn(step)
    scikit_learn_s = time.process_time() - start
    return Repetition(repeats, SAMPLE_PAIRS, pair_s, scikit_learn_s, _full(questions(FULL), repeats), growth)


def tables(result: Repetition) -> Iterator[str]:
    """The result in Markdown."""
    full = result.full
    yield f"### Repetition penalty, questions of {WORDS.start} to {WORDS.stop - 1} words"
    yield ""
    yield "| questions | clusters | ours | by the clock | peak memory | NLTK, extrapolated | NLTK/ours |"
    yield "|---|---|---|---|---|---|---|"
    for row in result.growth:
        ours = f"{row.ours_s:.2f} s | {row.ours_wall_s:.2f} s | {row.ours_nbytes / (1 << 20):.0f} MB"
        yield f"| {row.questions} | {row.clusters} | {ours} | {row.nltk_s:.0f} s | {row.nltk_s / row.ours_s:.0f}x |"
    yield ""
    yield (
        f"NLTK is extrapolated from {result.sample_pairs} pairs of the {STEP} questions, "
        f"{result.nltk_pair_s * 1e6:.0f} us each, to n(n-1)/2. With scikit-learn's clustering of a step, measured "
        f"({result.scikit_learn_s:.2f} s), a step takes NLTK and scikit-learn {result.ratio:.0f}x as long as us."
    )
    yield (
        f"In full at {full.questions} questions: theirs {full.theirs_s:.1f} s, ours {full.ours_s:.3f} s, "
        f"{full.theirs_s / full.ours_s:.0f}x; largest difference of a distance {full.difference:.1e}; "
        f"{full.clusters} clusters, {'the same' if full.same_clusters else 'NOT THE SAME'}."
    )


def _growth(size: int, pair_s: float, repeats: int) -> Growth:
    asked = questions(size)

    def cluster() -> list[int]:
        return cluster_labels(asked, symmetric=False)

    with Peak() as peak:
        labels = cluster()
    seconds = alternate(repeats, {"ours": cluster})["ours"]
    wall_s = alternate(repeats, {"ours": cluster}, time.perf_counter)["ours"]
    return Growth(size, len(set(labels)), seconds, wall_s, peak.nbytes, pair_s * size * (size - 1) / 2)


def _full(asked: Sequence[str], repeats: int) -> Full:
    ours_s = alternate(repeats, {"ours": lambda: cluster_labels(asked, symmetric=False)})["ours"]
    start = time.process_time()
    theirs = _nltk_distances(asked)
    their_labels = _scikit_learn(theirs)
    theirs_s = time.process_time() - start
    ours = squareform(bleu_distances(asked, symmetric=False))
    labels = cluster_labels(asked, symmetric=False)
    same = len(set(zip(labels, their_labels, strict=True))) == len(set(labels)) == len(set(their_labels))
    return Full(len(asked), len(set(labels)), ours_s, theirs_s, float(np.abs(ours - theirs).max()), same)


def _nltk_pair_s(asked: Sequence[str]) -> float:
    rng = random.Random(0)
    pairs = [rng.sample(asked, 2) for _ in range(SAMPLE_PAIRS)]
    start = time.process_time()
    for first, second in pairs:
        _nltk(first, second)
    return (time.process_time() - start) / SAMPLE_PAIRS


def _nltk_distances(asked: Sequence[str]) -> NDArray[np.float64]:
    distances = np.zeros((len(asked), len(asked)))
    for i in range(len(asked)):
        for j in range(i + 1, len(asked)):
            distances[i, j] = distances[j, i] = 1.0 - _nltk(asked[i], asked[j])
    return distances


def _nltk(hypothesis: str, reference: str) -> float:
    return float(sentence_bleu([reference.split()], hypothesis.split(), smoothing_function=SMOOTHING))


def _scikit_learn(distances: NDArray[np.float64]) -> list[int]:
    clustering = AgglomerativeClustering(
        n_clusters=None, distance_threshold=THRESHOLD, metric="precomputed", linkage="average"
    )
    return [int(label) for label in clustering.fit_predict(distances)]
