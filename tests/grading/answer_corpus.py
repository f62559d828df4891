r"""The labelled corpus of answer pairs in `corpus/`, and the accuracy of a judge on it.

One file of tab-separated columns per category: verdict (``equal`` or ``different``), a, b, and a reason where the
verdict is disputable. Nothing is quoted or escaped: a backslash is a backslash. The verdict is the one a careful
mathematician gives of two answers to the same question; the conventions are those of
`rzero_mega.grading.answers.comparison`. This module imports nothing of the package, so that other graders can be
measured on the corpus too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
_HEADER = ["verdict", "a", "b", "reason"]
_VERDICTS = {"equal": True, "different": False}


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two answers, whether they are the same answer, and why if that is disputable ("" if not)."""

    category: str
    a: str
    b: str
    equal: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """How a judge did on one category: the pairs it was asked, and those it got wrong."""

    pairs: int
    wrong: tuple[LabelledPair, ...]

    @property
    def accuracy(self) -> float:
        """The share of pairs judged right."""
        return 1 - len(self.wrong) / self.pairs


def load_corpus(folder: Path = FOLDER) -> list[LabelledPair]:
    """Return all pairs, by category. Raises ValueError, naming file and line, for a line that is not a pair."""
    return [pair for path in sorted(folder.glob("*.tsv")) for pair in _load_category(path)]


def _load_category(path: Path) -> list[LabelledPair]:
    header, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if header.split("\t") != _HEADER:
        raise ValueError(f"{path}: the first line must name the columns {', '.join(_HEADER)}")
    pairs = []
    for number, line in enumerate(lines, start=2):
        verdict, *texts = line.split("\t")
        if verdict not in _VERDICTS or len(texts) not in (2, 3) or not all(texts):
            raise ValueError(f"{path}:{number}: expected equal or different, two answers, and perhaps a reason")
        pairs.append(LabelledPair(path.stem, texts[0], texts[1], _VERDICTS[verdict], "".join(texts[2:])))
    return pairs


def accuracy_by_category(
    judge: Callable[[str, str], bool], pairs: Iterable[LabelledPair] | None = None
) -> dict[str, Score]:
    """Return the score of `judge`, called as ``judge(a, b)``, on each category of `pairs` (the corpus by default)."""
    counts: dict[str, int] = defaultdict(int)
    wrong: dict[str, list[LabelledPair]] = defaultdict(list)
    for pair in load_corpus() if pairs is None else pairs:
        counts[pair.category] += 1
        if judge(pair.a, pair.b) != pair.equal:
            wrong[pair.category].append(pair)
    return {category: Score(count, tuple(wrong[category])) for category, count in counts.items()}


def describe(scores: dict[str, Score]) -> str:
    """Return a table of accuracy per category, worst first, with the pairs judged wrong."""
    lines = []
    for category, score in sorted(scores.items(), key=lambda item: (item[1].accuracy, item[0])):
        lines.append(f"{score.accuracy:7.1%} of {score.pairs:3d}  {category}")
        lines += [f"          {pair.a}  {'=' if pair.equal else '≠'}  {pair.b}" for pair in score.wrong]
    right = sum(score.pairs - len(score.wrong) for score in scores.values())
    total = sum(score.pairs for score in scores.values())
    return "\n".join([*lines, f"{right / total:7.1%} of {total} pairs"])
