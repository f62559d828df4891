"""The command `benchmarks`: what there is to measure models on, and whether its data is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from rzero_mega.config.suggestions import alike
from rzero_mega.domains.registry import built_in_benchmarks
from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import load_benchmark
from rzero_mega.evaluation.data_folder import data_file, read_manifest
from rzero_mega.evaluation.definition import BenchmarkDefinition, benchmark_names, defined_benchmark, read_problems
from rzero_mega.evaluation.fetching import Hub, fetch
from rzero_mega.terminal import new_console, say


def list_benchmarks(data: str | None) -> None:
    """Print them all, with what is in the folder `data`."""
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "problems", "protocol", "reading", "from", "data"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "name")
    for name, built_in in built_in_benchmarks().items():
        count = str(len(load_benchmark(name).problems))
        table.add_row(name, count, "as the run says", built_in.reading, "built in", "needs none")
    for name in benchmark_names():
        found = defined_benchmark(name)
        table.add_row(name, str(found.items), protocol(found), found.reading, origin(found), state(found, data))
    new_console().print(table)
    if data is None:
        say("--data FOLDER says which of them are there; `rzero-mega benchmarks fetch --to FOLDER` gets them")


def protocol(definition: BenchmarkDefinition) -> str:
    """How it is asked, in words."""
    how = definition.protocol
    drawn = f"mean@{how.samples}, T {how.temperature:g}" if how.samples > 1 else "greedy"
    return f"{drawn}, {how.max_new_tokens:,} tokens"


def origin(definition: BenchmarkDefinition) -> str:
    """Where it comes from."""
    hub = definition.hub
    if hub is None:
        return "a file by hand"
    return "/".join([hub.repository, *([hub.config] if hub.config else []), hub.split])


def state(definition: BenchmarkDefinition, data: str | None) -> str:
    """Whether it is in the folder, and whole."""
    if data is None:
        return "?"
    try:
        path = data_file(definition.name, data)
        read_problems(definition, path)
    except UserError as error:
        text = str(error)
        return "missing" if text.endswith("is missing") else f"damaged: {text}"
    fetched = read_manifest(Path(data).expanduser()).get(definition.name)
    return f"whole, at {fetched.revision[:12]}" if fetched and fetched.revision else "whole, by hand"


def fetch_benchmarks(names: Sequence[str], folder: Path, hub: Hub) -> None:
    """Fetch the named ones, or all that are on the hub. UserError names those that cannot be had, after the others."""
    known = benchmark_names()
    for name in names:
        if name not in known:
            close = alike(name, known)
            hint = f"did you mean {close}?" if close else f"there are {', '.join(known)}"
            raise UserError(f"benchmarks fetch: {name!r} is none; {hint}")
    wanted = list(dict.fromkeys(names)) or [name for name in known if defined_benchmark(name).hub is not None]
    outcomes = fetch(wanted, folder, hub, say)
    for outcome in outcomes:
        if outcome.file is not None:
            say(f"{outcome.name}: {outcome.file.items} problems in {folder / outcome.file.file}")
    failed = [outcome.reason for outcome in outcomes if outcome.file is None]
    if failed:
        raise UserError(f"benchmarks fetch: {'; '.join(failed)}")
