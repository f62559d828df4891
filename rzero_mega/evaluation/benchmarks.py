"""Benchmarks by name: problems with known answers that models are measured on and never trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.errors import UserError
from rzero_mega.evaluation.arithmetic import held_out_set
from rzero_mega.text_file import is_missing, read_rows


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


def load_benchmarks(names: Sequence[str]) -> list[Benchmark]:
    """All of them, each under a name of its own; UserError where two are called alike, or one cannot be read."""
    found: dict[str, str] = {}
    benchmarks = []
    for name in names:
        benchmark = load_benchmark(name)
        if benchmark.name in found:
            raise UserError(
                f"evaluation.benchmarks: {found[benchmark.name]!r} and {name!r} are both called {benchmark.name}; "
                "leave one out, or rename a file"
            )
        found[benchmark.name] = name
        benchmarks.append(benchmark)
    return benchmarks


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
    if path.suffix != ".jsonl" or is_missing(path):
        raise UserError(
            f"evaluation.benchmarks: {name!r} is neither arithmetic, arithmetic:N nor a .jsonl file; "
            "give a file whose lines are objects with question and answer"
        )
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
    for line, row in read_rows(path):
        # Numbers come as they stand there: an answer of 0.10 is no 0.1.
        found = [row.get("question"), row.get("answer"), row.get("level", "all")]
        texts = [text for text in found if isinstance(text, str) and text.strip()]
        if len(texts) < len(found):
            raise UserError(f"{path}:{line}: question, answer and level, if there is one, have to be texts or numbers")
        problems.append(Problem(*texts))
    if not problems:
        raise UserError(f"{path}: holds no problems")
    return problems
