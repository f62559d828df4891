"""The texts that a configuration names: they belong to the run that began with them, wherever they lay."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rzero_mega.config.schema import Config
from rzero_mega.domains.benchmark import Protocol
from rzero_mega.domains.problem import Problem
from rzero_mega.domains.prompts import PromptRole, has_prompt, prompt_key, prompt_text_of
from rzero_mega.domains.registry import built_in_benchmark, domain_of
from rzero_mega.evaluation.benchmarks import Benchmark, load_benchmarks
from rzero_mega.evaluation.labelled import labelled_text

DOMAIN, BENCHMARKS, LABELLED = "domain", "evaluation.benchmarks", "labelled.data"
ROLES: tuple[PromptRole, ...] = ("challenger", "solver", "verifier", "critic", "paraphrase", "program")
"""Those whose prompts a run keeps."""


def run_texts(config: Config) -> dict[str, str]:
    """Prompts, problems and labelled data, by the key that names them; UserError for a file that can't be read.

    Of a domain it is its name: what it consists of is code.
    """
    benchmarks = load_benchmarks(config.evaluation)
    labelled = labelled_text(config)
    return {
        DOMAIN: f"{domain_of(config).name}\n",
        **{prompt_key(role): prompt_text_of(config, role) for role in ROLES if _is_asked_by(config, role)},
        BENCHMARKS: benchmarks_text(benchmarks),
        **({LABELLED: labelled} if labelled is not None else {}),
    }


def _is_asked_by(config: Config, role: PromptRole) -> bool:
    """Whether the run has a prompt of the role, as not every domain has of all."""
    if role == "verifier":
        return config.verifier.train
    if role == "critic":
        return config.critic.generative
    return role in ("challenger", "solver") or has_prompt(config, role)


def benchmarks_text(benchmarks: Sequence[Benchmark]) -> str:
    """A line of JSON per problem, and before those of a defined benchmark one that says how it is asked and read."""
    rows: list[dict[str, Any]] = []
    for bench in benchmarks:
        if bench.protocol is not None:
            rows.append(_header(bench))
        rows += ({"benchmark": bench.name, **_row(problem)} for problem in bench.problems)
    return "".join(json.dumps(row) + "\n" for row in rows)


def parse_benchmarks(text: str) -> list[Benchmark]:
    """The benchmarks that `benchmarks_text` wrote down."""
    rows = [json.loads(line) for line in text.split("\n") if line]
    return [_benchmark(name, list(some)) for name, some in groupby(rows, key=lambda row: str(row["benchmark"]))]


def _header(benchmark: Benchmark) -> dict[str, Any]:
    assert benchmark.protocol is not None
    asked = {"reading": benchmark.reading, "group": benchmark.group, "protocol": asdict(benchmark.protocol)}
    return {"benchmark": benchmark.name, **asked}


def _row(problem: Problem) -> dict[str, Any]:
    """One answer stands under `answer`: that is how texts of earlier versions have it."""
    answer = {"answer": problem.answers[0]} if len(problem.answers) == 1 else {"answers": problem.answers}
    options = {"options": problem.options} if problem.options else {}
    return {"question": problem.question, **answer, "level": problem.level, **options}


def _benchmark(name: str, rows: list[dict[str, Any]]) -> Benchmark:
    if "protocol" not in rows[0]:
        built_in = built_in_benchmark(name)
        reading, group = (built_in.reading, built_in.group) if built_in else (None, "other")
        return Benchmark(name, tuple(map(_problem, rows)), reading, group=group)
    header, *rows = rows
    protocol = Protocol(**header["protocol"])
    return Benchmark(name, tuple(map(_problem, rows)), header["reading"], protocol, header["group"])


def _problem(row: Mapping[str, Any]) -> Problem:
    answers = (row["answer"],) if "answer" in row else tuple(row["answers"])
    return Problem(row["question"], answers, row["level"], tuple(row.get("options", ())))
