"""The texts that a configuration names: they belong to the run that began with them, wherever they lay."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby

from rzero_mega.coevolution.prompts import prompt_text
from rzero_mega.config.schema import Config
from rzero_mega.evaluation.benchmarks import Benchmark, Problem, load_benchmarks

CHALLENGER, SOLVER, BENCHMARKS = "prompts.challenger", "prompts.solver", "evaluation.benchmarks"


def run_texts(config: Config) -> dict[str, str]:
    """Both prompts and all problems, by the key that names them; UserError for a file that can't be read."""
    benchmarks = load_benchmarks(config.evaluation.benchmarks)
    return {
        CHALLENGER: prompt_text(config.prompts.challenger),
        SOLVER: prompt_text(config.prompts.solver),
        BENCHMARKS: benchmarks_text(benchmarks),
    }


def benchmarks_text(benchmarks: Sequence[Benchmark]) -> str:
    """A line of JSON per problem."""
    rows = [{"benchmark": bench.name, **asdict(problem)} for bench in benchmarks for problem in bench.problems]
    return "".join(json.dumps(row) + "\n" for row in rows)


def parse_benchmarks(text: str) -> list[Benchmark]:
    """The benchmarks that `benchmarks_text` wrote down."""
    rows = [json.loads(line) for line in text.split("\n") if line]
    return [
        Benchmark(name, tuple(Problem(**{key: row[key] for key in row if key != "benchmark"}) for row in some))
        for name, some in groupby(rows, key=lambda row: str(row["benchmark"]))
    ]
