"""A public benchmark as data: `definitions/NAME.yaml` says where it is, what its rows hold, how it is asked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rzero_mega.domains.benchmark import Protocol
from rzero_mega.domains.problem import Problem
from rzero_mega.domains.registry import domain_names
from rzero_mega.errors import UserError, first_line
from rzero_mega.evaluation.answer_forms import ANSWER_FORMS
from rzero_mega.evaluation.choices import letters
from rzero_mega.evaluation.readings import READINGS
from rzero_mega.text_file import MOST_BYTES_OF_ROWS, read_text

GROUPS = ("mathematics", "general", "word problems", "transfer", "other")
"""Averages are taken over a group. Transfer is a family of problems that the Challenger never writes: it stays out of
the mean over all benchmarks."""


@dataclass(frozen=True)
class HubSource:
    """A data set on the Hugging Face hub."""

    repository: str
    split: str = "test"
    config: str | None = None
    revision: str | None = None
    """Commit; None is the newest, which `benchmarks fetch` writes down."""


@dataclass(frozen=True)
class BenchmarkDefinition:
    """Fields are tried in the order in which they are named: copies of a data set call them differently."""

    name: str
    title: str
    group: str
    question: list[str]
    """Templates of the question over a row's fields, for instance `{Body} {Question}`: the first that a row fills."""
    answer: list[str]
    answer_form: str
    """Name in `answer_forms.ANSWER_FORMS`: what of the field is the answer."""
    reading: str
    """Name in `readings.READINGS`, or a domain's: how a response is read."""
    items: int | None = None
    """How many problems the data holds; other numbers are refused."""
    options: str | None = None
    """Field with the options' texts, in order."""
    level: list[str] = field(default_factory=list)
    """Field that results are broken down by."""
    hub: HubSource | None = None
    file: str | None = None
    """Of a definition of one's own: the .jsonl or .json file with the data, relative to the definition's folder."""
    protocol: Protocol = field(default_factory=Protocol)

    def problem(self, row: dict[str, Any]) -> Problem:
        """A row of the data as a problem. ValueError says what the row lacks."""
        options = tuple(str(option) for option in row.get(self.options) or ()) if self.options else ()
        value = next((row[name] for name in self.answer if row.get(name) is not None), None)
        if value is None:
            raise ValueError(f"has no field {' or '.join(self.answer)}")
        question = next((text for template in self.question if (text := _filled(template, row))), None)
        if question is None:
            raise ValueError(f"does not fill {' or '.join(self.question)}")
        answers = ANSWER_FORMS[self.answer_form](value)
        if not answers or not all(answers):
            raise ValueError(f"has no answer in {value!r}")
        if options and answers[0] not in letters(options):
            raise ValueError(f"has the answer {answers[0]}, and {len(options)} options")
        level = next((str(row[name]) for name in self.level if row.get(name) is not None), "all")
        return Problem(question, answers, level, options)


def benchmark_names() -> list[str]:
    """Names of the benchmarks that are defined."""
    folder = files("rzero_mega.evaluation") / "definitions"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def defined_benchmark(name: str) -> BenchmarkDefinition:
    """The definition of a benchmark that comes with the package."""
    text = (files("rzero_mega.evaluation") / "definitions" / f"{name}.yaml").read_text(encoding="utf-8")
    return parse_definition(name, text)


def parse_definition(name: str, text: str) -> BenchmarkDefinition:
    """A definition from YAML. UserError names the key that is wrong."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(BenchmarkDefinition), {"name": name}, OmegaConf.create(text))
        definition = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise UserError(f"benchmark {name}: {first_line(error)}") from None
    assert isinstance(definition, BenchmarkDefinition)
    for key, allowed in (
        ("group", GROUPS),
        ("answer_form", tuple(ANSWER_FORMS)),
        ("reading", (*domain_names(), *READINGS)),
    ):
        if getattr(definition, key) not in allowed:
            raise UserError(f"benchmark {name}: {key} {getattr(definition, key)!r} is none of {', '.join(allowed)}")
    protocol = definition.protocol
    if protocol.samples < 1 or protocol.max_new_tokens < 1 or not 0 <= protocol.top_p <= 1 or protocol.temperature < 0:
        raise UserError(f"benchmark {name}: protocol needs samples and max_new_tokens from 1, top_p from 0 to 1")
    if (protocol.samples > 1) != (protocol.temperature > 0):
        raise UserError(f"benchmark {name}: protocol needs a temperature above 0 for several samples, and 0 for one")
    return definition


def read_problems(definition: BenchmarkDefinition, path: Path) -> tuple[Problem, ...]:
    """The problems of a JSON-lines file, or of a JSON file with a list or `examples`. UserError names the row."""
    problems = []
    for number, row in enumerate(_rows(path), 1):
        try:
            problems.append(definition.problem(row))
        except (ValueError, AttributeError, TypeError) as error:
            raise UserError(f"{path}: row {number} {error}") from None
    if not problems:
        raise UserError(f"{path}: holds no problems")
    if definition.items not in (None, len(problems)):
        raise UserError(f"{path}: holds {len(problems)} problems, and {definition.name} has {definition.items}")
    return tuple(problems)


def _rows(path: Path) -> list[Any]:
    text = read_text(path, MOST_BYTES_OF_ROWS)
    try:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {first_line(error)}") from None
    rows = content.get("examples") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise UserError(f"{path}: neither a list nor an object with a list called examples")
    return rows


def _filled(template: str, row: dict[str, Any]) -> str:
    """`template` with a row's fields; empty if one is missing. Braces in a field's text stay as they are."""
    parts = template.split("{")
    text = parts[0]
    for part in parts[1:]:
        name, _, rest = part.partition("}")
        if not row.get(name):
            return ""
        text += str(row[name]).strip() + rest
    return text.strip()


def title_of(benchmark: str) -> str:
    """How a benchmark is called in tables: `MATH-500`, of a part `MATH-500:50`, and others by their name."""
    name, _, size = benchmark.partition(":")
    title = defined_benchmark(name).title if name in benchmark_names() else name
    return f"{title}:{size}" if size else title
