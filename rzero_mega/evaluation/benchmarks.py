"""Benchmarks by name: problems with known answers that models are measured on and never trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rzero_mega.coevolution.question_key import question_key
from rzero_mega.config.schema import EvaluationConfig
from rzero_mega.config.suggestions import alike
from rzero_mega.domains.benchmark import Protocol
from rzero_mega.domains.problem import Problem
from rzero_mega.domains.registry import built_in_benchmark, built_in_benchmarks
from rzero_mega.errors import UserError
from rzero_mega.evaluation.data_folder import data_file
from rzero_mega.evaluation.definition import (
    BenchmarkDefinition,
    benchmark_names,
    defined_benchmark,
    parse_definition,
    read_problems,
)
from rzero_mega.text_file import is_missing, read_rows, read_text


@dataclass(frozen=True)
class Benchmark:
    """A named list of problems, how responses to them are read (`reading_named`), and whose average it is in.

    `protocol` is None where `evaluation.samples` and `evaluation.sampling` say how answers are drawn.
    """

    name: str
    problems: tuple[Problem, ...]
    reading: str | None = None
    protocol: Protocol | None = None
    group: str = "other"


def load_benchmarks(config: EvaluationConfig) -> list[Benchmark]:
    """All of them, each under a name of its own.

    UserError names those whose data is missing, two that are called alike, or one that cannot be read.
    """
    _check_data(config)
    found: dict[str, str] = {}
    benchmarks = []
    for name in config.benchmarks:
        benchmark = load_benchmark(name, config.data)
        if benchmark.name in found:
            raise UserError(
                f"evaluation.benchmarks: {found[benchmark.name]!r} and {name!r} are both called {benchmark.name}; "
                "leave one out, or rename a file"
            )
        found[benchmark.name] = name
        benchmarks.append(benchmark)
    return benchmarks


def load_benchmark(name: str, data: str | None = None) -> Benchmark:
    """A built-in or defined benchmark, or a path of a .jsonl file or a YAML definition; `NAME:N` is a part of it.

    Of a built-in one that is N of each level, elsewhere N problems, always the same. `data` is the folder with the
    files of defined benchmarks. UserError says what is wrong.
    """
    path = Path(name)
    if path.suffix in (".jsonl", ".yaml", ".yml") and not is_missing(path):
        return _of_file(path)
    kind, colon, size = name.partition(":")
    built_in = built_in_benchmark(kind)
    most = built_in.per_level if built_in else None
    if colon and not (size.isdecimal() and 1 <= int(size) <= (most or int(size))):
        what = f"problems per level go from 1 to {most}" if most else "NAME:N asks for N problems, 1 or more"
        raise UserError(f"evaluation.benchmarks: {name!r}: {what}")
    if built_in is not None:
        problems = built_in.some(int(size or built_in.per_level))
        return Benchmark(kind, problems, built_in.reading, built_in.protocol, built_in.group)
    if kind not in benchmark_names():
        raise UserError(f"evaluation.benchmarks: {_unknown(name, kind)}")
    definition = defined_benchmark(kind)
    problems = read_problems(definition, data_file(kind, data))
    benchmark = _defined(definition, problems)
    return replace(benchmark, name=name, problems=some_of(problems, int(size))) if size else benchmark


def some_of(problems: Sequence[Problem], count: int) -> tuple[Problem, ...]:
    """So many of them in their order, chosen by a hash of the question: of the same data always the same."""
    ranked = sorted(range(len(problems)), key=lambda i: hashlib.sha256(problems[i].question.encode()).digest())
    return tuple(problems[i] for i in sorted(ranked[:count]))


def _check_data(config: EvaluationConfig) -> None:
    """UserError names all defined benchmarks whose data is missing or damaged, and how to get it."""
    kinds = dict.fromkeys(name.partition(":")[0] for name in config.benchmarks)
    faults: dict[str, str] = {}
    for kind in kinds.keys() & set(benchmark_names()):
        try:
            data_file(kind, config.data)
        except UserError as error:
            faults[kind] = str(error)
    if not faults:
        return
    missing = [kind for kind in kinds if kind in faults]
    if config.data is None:
        what = f"{', '.join(missing)}: no data; evaluation.data=FOLDER says where it lies"
    else:
        what = "; ".join(faults[kind] for kind in missing)
    raise UserError(f"evaluation.benchmarks: {what}; {_how_to_get(missing, config.data or 'FOLDER')}")


def _how_to_get(kinds: Sequence[str], folder: str) -> str:
    of_hub = [kind for kind in kinds if defined_benchmark(kind).hub is not None]
    by_hand = [f"{kind}.jsonl" for kind in kinds if kind not in of_hub]
    ways = []
    if of_hub:
        ways.append(f"`rzero-mega benchmarks fetch {' '.join(of_hub)} --to {folder}` gets it where there is internet")
    if by_hand:
        ways.append(f"{', '.join(by_hand)}: on no hub that is known here, put into {folder} by hand")
    return "; ".join(ways)


def _unknown(name: str, kind: str) -> str:
    known = [*built_in_benchmarks(), *benchmark_names()]
    if close := alike(kind, known):
        return f"{name!r} is no benchmark; did you mean {close}?"
    return (
        f"{name!r} is neither {', '.join(known)}, nor a .jsonl file or a YAML definition that is there; "
        "give a file whose lines are objects with question and answer"
    )


def _of_file(path: Path) -> Benchmark:
    if path.suffix == ".jsonl":
        return Benchmark(path.stem, tuple(_read(path)))
    definition = parse_definition(path.stem, read_text(path))
    if definition.file is None:
        raise UserError(f"{path}: names no file; add `file:`, the .jsonl or .json file with the data")
    return _defined(definition, read_problems(definition, path.parent / Path(definition.file).expanduser()))


def _defined(definition: BenchmarkDefinition, problems: tuple[Problem, ...]) -> Benchmark:
    return Benchmark(definition.name, problems, definition.reading, definition.protocol, definition.group)


def held_out_questions(benchmarks: Iterable[Benchmark]) -> Callable[[str], bool]:
    """Whether a question is one of these benchmarks', whitespace apart, or of the family of one that measures transfer.

    What a run gains there is transfer only as long as nothing of the kind is trained on.
    """
    asked = list(benchmarks)
    questions = {question_key(problem.question) for benchmark in asked for problem in benchmark.problems}
    built_in = [built_in_benchmark(benchmark.name) for benchmark in asked]
    families = [found.in_family for found in built_in if found is not None and found.in_family is not None]

    def held_out(question: str) -> bool:
        return question_key(question) in questions or any(in_family(question) for in_family in families)

    return held_out


def _read(path: Path) -> list[Problem]:
    problems = []
    for line, row in read_rows(path):
        # Numbers come as they stand there: an answer of 0.10 is no 0.1.
        found = [row.get("question"), row.get("answer"), row.get("level", "all")]
        texts = [text for text in found if isinstance(text, str) and text.strip()]
        if len(texts) < len(found):
            raise UserError(f"{path}:{line}: question, answer and level, if there is one, have to be texts or numbers")
        problems.append(Problem(texts[0], (texts[1],), texts[2]))
    if not problems:
        raise UserError(f"{path}: holds no problems")
    return problems
