"""Benchmarks by name: problems with known answers that models are measured on and never trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.errors import UserError
from rzero_mega.evaluation.arithmetic import held_out_set


@dataclass(frozen=True)
class Problem:
    """A question, its answer, and the level that it is reported under."""

    question: str
    answer: str
    level: str


@dataclass(frozen=True)
class Benchmark:
    """A named list of problems."""

    name: str
    problems: tuple[Problem, ...]


def load_benchmark(name: str) -> Benchmark:
    """`arithmetic` (500 held-out expressions), `arithmetic:N` (N a level), or the path of a JSON-lines file.

    A file has an object with `question` and `answer`, and maybe `level`, on every line. UserError says what is wrong.
    """
    kind, _, size = name.partition(":")
    if kind == "arithmetic":
        if size and not (size.isdecimal() and 1 <= int(size) <= 100):
            raise UserError(f"evaluation.benchmarks: {name!r}: problems per level go from 1 to 100")
        return Benchmark("arithmetic", _arithmetic(int(size or 100)))
    path = Path(name)
    if path.suffix != ".jsonl" or not path.is_file():
        raise UserError(f"evaluation.benchmarks: {name!r} is neither arithmetic, arithmetic:N nor a .jsonl file")
    return Benchmark(path.stem, tuple(_read(path)))


def _arithmetic(per_level: int) -> tuple[Problem, ...]:
    seen: dict[int, int] = {}
    problems = []
    for problem in held_out_set():
        seen[problem.level] = seen.get(problem.level, 0) + 1
        if seen[problem.level] <= per_level:
            problems.append(Problem(problem.expression, problem.answer, str(problem.level)))
    return tuple(problems)


def _read(path: Path) -> list[Problem]:
    problems = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            problems.append(Problem(str(row["question"]), str(row["answer"]), str(row.get("level", "all"))))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}:{number}: not an object with question and answer") from None
    if not problems:
        raise UserError(f"{path}: holds no problems")
    return problems
