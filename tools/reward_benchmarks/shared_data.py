"""Golds of public benchmarks and pairs of answers from others' test suites: data for tests, and no part of this.

They lie in `benchmarks/` and `grading/pairs.jsonl` of the folder that RZERO_MEGA_DATA names, or of a folder `shared`
beside the repository; `folder()` is None where there is none.
"""

from __future__ import annotations

import json
import os
from ast import literal_eval
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rzero_mega.grading import extract_answer

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Gold:
    """The gold answer of one question: the file, its place there, and the answer as it stands."""

    benchmark: str
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class SuitePair:
    """A pair of answers, whether its suite takes them for equal, where it is from, and the tags of who collected it."""

    gold: str
    answer: str
    equal: bool
    suite: str
    tags: str


def folder() -> Path | None:
    """Return the folder of the data, or None."""
    path = Path(os.environ.get("RZERO_MEGA_DATA", ROOT.parent / "shared"))
    return path if (path / "grading" / "pairs.jsonl").is_file() else None


def suite_pairs(data: Path) -> list[SuitePair]:
    """Return the pairs, each answer out of its box if it stands in one."""
    return [_suite_pair(json.loads(line)) for line in _lines(data / "grading" / "pairs.jsonl")]


def _suite_pair(row: dict[str, Any]) -> SuitePair:
    name, _, tags = row["source"].partition(" [")
    suite = name.split("::")[0].split("/")[0].split(" ")[0]
    suite = " ".join(name.split()[:2]) if suite == "fault" else suite
    return SuitePair(_unboxed(row["gold"]), _unboxed(row["pred"]), row["expected"], suite, tags.rstrip("]"))


def _unboxed(text: str) -> str:
    answer = extract_answer(text)
    return text if answer is None else answer


def golds(data: Path) -> list[Gold]:
    """Return the gold answers of all benchmarks, in order."""
    found = [
        Gold(name, index, text.strip())
        for name, texts in _READ.items()
        for index, row in enumerate(_lines(data / "benchmarks" / f"{name}.jsonl"))
        for text in texts(json.loads(row))
    ]
    examples = json.loads((data / "benchmarks" / "bbeh_mini.json").read_text(encoding="utf-8"))["examples"]
    found += [Gold("bbeh_mini", index, str(row["target"]).strip()) for index, row in enumerate(examples)]
    return [gold for gold in found if gold.text]


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def _of_olympiad(row: dict[str, Any]) -> Iterator[str]:
    answers = row["final_answer"]
    yield from literal_eval(answers) if isinstance(answers, str) else answers or []


_READ: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "gsm8k": lambda row: iter([row["answer"].rpartition("####")[2]]),
    "math500": lambda row: iter([row["answer"]]),
    "aime24": lambda row: iter([str(row["answer"])]),
    "aime25": lambda row: iter([str(row["answer"])]),
    "amc23": lambda row: iter([str(row["answer"])]),
    "minerva_math": lambda row: iter([extract_answer(row["solution"]) or ""]),
    "olympiadbench": _of_olympiad,
    "mmlu_pro": lambda row: iter([row["answer"]]),
    "svamp": lambda row: iter([str(row["Answer"])]),
    "asdiv": lambda row: iter([str(row["answer"])]),
    "mawps": lambda row: iter([str(row["target"])]),
}
