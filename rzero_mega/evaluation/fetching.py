"""The data of defined benchmarks from the Hugging Face hub into a folder, where there is internet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

from rzero_mega import atomic
from rzero_mega.errors import UserError, first_line
from rzero_mega.evaluation.data_folder import MANIFEST, Fetched, data_file, read_manifest
from rzero_mega.evaluation.definition import BenchmarkDefinition, HubSource, defined_benchmark, read_problems


class Hub(Protocol):
    """Where data sets come from."""

    def commit(self, source: HubSource) -> str:
        """The commit that the source's revision, or else the newest, is. UserError if there is none to be had."""
        ...

    def rows(self, source: HubSource, commit: str) -> Iterable[Mapping[str, Any]]:
        """The rows of the split, as of that commit."""
        ...


@dataclass(frozen=True)
class HuggingFace:
    """The hub itself, by huggingface_hub and datasets, which knows the layouts that data sets come in."""

    endpoint: str | None = None
    """Another server than HF_ENDPOINT names, or the hub's own."""

    def commit(self, source: HubSource) -> str:
        """By huggingface_hub; UserError without an answer."""
        from huggingface_hub import HfApi

        try:
            found = HfApi(endpoint=self.endpoint).dataset_info(source.repository, revision=source.revision).sha
        except Exception as error:  # of the network, of the hub, of the repository: many kinds without a common one
            raise UserError(f"{source.repository}: cannot be had from the hub: {first_line(error)}") from None
        if not found:
            raise UserError(f"{source.repository}: the hub names no commit")
        return found

    def rows(self, source: HubSource, commit: str) -> Iterable[Mapping[str, Any]]:
        """By datasets; code of a repository is never run. UserError without it, or for a data set it can't load."""
        try:
            import datasets
        except ImportError:
            raise UserError(
                "benchmarks fetch: reads data sets with the package datasets: `pip install 'rzero_mega[benchmarks]'`"
            ) from None
        try:
            loaded = datasets.load_dataset(source.repository, source.config, split=source.split, revision=commit)
        except Exception as error:  # see above
            raise UserError(f"{source.repository}: not loadable as a data set: {first_line(error)}") from None
        rows: Iterable[Mapping[str, Any]] = loaded
        return rows


@dataclass(frozen=True)
class Outcome:
    """What became of a benchmark: `file` is whole in the folder, or there is a reason why it is not."""

    name: str
    file: Fetched | None
    reason: str = ""


def fetch(names: Sequence[str], folder: Path, hub: Hub, told: Callable[[str], None]) -> list[Outcome]:
    """Have the benchmarks in the folder, each pinned to a commit and with its hash. What is whole there stays.

    One that cannot be had leaves the others alone; `told` gets a line as each begins.
    """
    with atomic.storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for name in names:
        definition = defined_benchmark(name)
        try:
            outcomes.append(Outcome(name, _fetched(definition, folder, hub, told)))
        except UserError as error:
            outcomes.append(Outcome(name, None, str(error)))
    return outcomes


def _fetched(definition: BenchmarkDefinition, folder: Path, hub: Hub, told: Callable[[str], None]) -> Fetched:
    name, source = definition.name, definition.hub
    before = read_manifest(folder).get(name)
    if before is not None and _is_whole(name, folder):
        return before
    if source is None:
        raise UserError(f"{name}: is on no hub that is known here; put {name}.jsonl into {folder} by hand")
    commit = hub.commit(source)
    told(f"{name}: {source.repository} at {commit[:12]}, {source.config or 'default'}/{source.split}")
    # Under its final name from the beginning to the end of the check only beside what is there: a file that turns out
    # to be another data set never stands where an evaluation would look for it.
    checked = folder / f".{name}.jsonl"
    atomic.write_bytes(checked, b"".join(_lines(hub.rows(source, commit))))
    try:
        items = len(read_problems(definition, checked))
        atomic.write_bytes(folder / f"{name}.jsonl", checked.read_bytes())
    finally:
        checked.unlink(missing_ok=True)
    path = folder / f"{name}.jsonl"
    found = Fetched(path.name, atomic.sha256(path), items, source.repository, commit)
    manifest = {**read_manifest(folder), name: found}
    atomic.write_json(folder / MANIFEST, {key: asdict(manifest[key]) for key in sorted(manifest)})
    return found


def _is_whole(name: str, folder: Path) -> bool:
    try:
        data_file(name, str(folder))
    except UserError:
        return False
    return True


def _lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False, default=_as_text).encode() + b"\n"


def _as_text(value: object) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise UserError(f"a field holds a {type(value).__name__}, which is no data of a benchmark")
