"""How the learner compares: `python -m tools.bench_learner [--json]`. Every figure is measured in this one run, on CPU.

Packed against padded micro-batches; a step against TRL's GRPOTrainer; log-probabilities against all logits at once; the
reference swapped into the model against a second model. Each comparison has a process of its own with one thread, in
which what is compared takes turns; seconds are processor time, figures medians. `tools/learner_benchmarks` has a file
for each.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

WHAT = ("packed", "trl", "logprobs", "reference")
LOGPROB_TOKENS = 6144  # the longest sequence of R-Zero: 2,048 of prompt and 4,096 of response
MB = 1 << 20
INSTALL_TRL = 'pip install -c tools/constraints.txt -e ".[bench]"'
app = typer.Typer(add_completion=False)


@dataclass
class Results:
    """All figures, and where they were measured. `trl` None: TRL isn't installed. Rows are those of each file."""

    machine: str
    repeats: int
    packed: list[dict[str, Any]] = field(default_factory=list)
    trl: list[dict[str, Any]] | None = field(default_factory=list)
    logprobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    reference: list[dict[str, Any]] = field(default_factory=list)
    load_after: str = ""


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    what: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(WHAT)}.")] = ",".join(WHAT),
    repeats: Annotated[int, typer.Option(help="Measurements per figure.")] = 3,
    folder: Annotated[Path | None, typer.Option(help="Where models are written.")] = None,
) -> None:
    """Measure everything and print tables, or JSON."""
    if context.invoked_subcommand is not None:
        return
    chosen = what.split(",")
    if unknown := set(chosen) - set(WHAT):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(WHAT)}")
    results = Results(f"{_processor()}, {os.cpu_count()} processors, load {_load()}", repeats)
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-learner-") as name:
        if "packed" in chosen:
            results.packed = _child("packed", repeats, name)
        if "trl" in chosen:
            results.trl = _child("trl", repeats, name)
        if "logprobs" in chosen:
            results.logprobs = _logprobs(repeats)
        if "reference" in chosen:
            results.reference = _reference(repeats, name)
    results.load_after = _load()
    print(json.dumps(asdict(results), indent=2) if as_json else "\n".join(_tables(results)))


def _child(*arguments: object) -> Any:
    """What `bench_learner.py` prints as JSON when it is called with these arguments, in a process of its own."""
    _note(" ".join(str(argument) for argument in arguments))
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench_learner", *(str(argument) for argument in arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"bench_learner: {arguments[0]} failed")
    return json.loads(done.stdout.splitlines()[-1])


def _logprobs(repeats: int) -> dict[str, dict[str, Any]]:
    """Medians by way; SystemExit if the ways disagree."""
    found: dict[str, list[dict[str, Any]]] = {"plain": [], "ours": []}
    for _ in range(repeats):
        for way, rows in found.items():
            rows.append(_child("logprobs", way, LOGPROB_TOKENS))
    result = {way: {key: median(row[key] for row in rows) for key in rows[0]} for way, rows in found.items()}
    for key in ("total", "gradient_norm"):
        if not math.isclose(result["ours"][key], result["plain"][key], rel_tol=1e-4):
            raise SystemExit(f"bench_learner: the ways' {key} differ: {result}")
    return result


def _reference(repeats: int, folder: str) -> list[dict[str, Any]]:
    seconds = _child("reference", repeats, folder)
    rows = [(way, _child("reference-memory", way.replace(" ", "-"), folder)) for way in seconds]
    return [{**row, "seconds": seconds[way]} for way, row in rows]


# In processes of their own. What comes before the line of JSON on standard output is ignored.


def _prepare() -> None:
    from rzero_mega.learner.megatron import compat

    compat.install()
    import torch

    torch.set_num_threads(1)


def _finish(found: Any) -> None:
    print("\n" + json.dumps(found), flush=True)
    os._exit(0)  # process groups have threads that outlive the interpreter's orderly end


@app.command("packed", hidden=True)
def packed_child(repeats: int, folder: Path) -> None:
    """Packed against padded."""
    _prepare()
    from tools.learner_benchmarks import packed

    _finish([asdict(row) for row in packed.run(repeats, folder / "packed")])


@app.command("trl", hidden=True)
def trl_child(repeats: int, folder: Path) -> None:
    """Against TRL; null if it isn't installed."""
    from tools.learner_benchmarks import trl_step

    if not trl_step.available():
        _finish(None)
    _prepare()
    _finish([asdict(row) for row in trl_step.run(repeats, folder / "trl")])


@app.command("logprobs", hidden=True)
def logprobs_child(way: str, tokens: int) -> None:
    """One way of log-probabilities."""
    _prepare()
    from tools.learner_benchmarks import logprob_memory

    _finish(asdict(logprob_memory.run(way, tokens)))


@app.command("reference", hidden=True)
def reference_child(repeats: int, folder: Path) -> None:
    """Seconds of both ways of holding the reference; leaves the model for the processes that measure memory."""
    _prepare()
    from tools.learner_benchmarks import reference

    _finish(reference.seconds(repeats, reference.write_model(folder / "reference")))


@app.command("reference-memory", hidden=True)
def reference_memory_child(way: str, folder: Path) -> None:
    """Memory of one way of holding the reference."""
    _prepare()
    from tools.learner_benchmarks import reference

    _finish(asdict(reference.memory(way.replace("-", " "), folder / "reference")))


# Output


def _tables(results: Results) -> Iterator[str]:
    yield f"{results.machine} before and {results.load_after} after; medians of {results.repeats}; processor seconds"
    if results.packed:
        yield from _packed_table(results.packed)
    if results.trl is None:
        yield from ("", f"TRL is not installed, so no step was compared with its: {INSTALL_TRL}")
    elif results.trl:
        yield from _trl_table(results.trl)
    if results.logprobs:
        yield from _logprobs_table(**results.logprobs)
    if results.reference:
        yield from _reference_table(results.reference)


def _packed_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield from ("", "Tokens per second of train steps; lengths are assumed (see learner_benchmarks/rollouts.py), / 8")
    yield "| role | tokens | packed | padded to | padding | padded | packed/padded |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        packed, padded = row["packed_tokens_per_s"], row["padded_tokens_per_s"]
        cells = [row["role"], row["tokens"], f"{packed:.0f}/s", f"longest of {row['padded_to']}"]
        yield _line(*cells, f"{row['padding']:.0%}", f"{padded:.0f}/s", f"{packed / padded:.2f}x")
    yield from dict.fromkeys(f"{row['role']}: {row['lengths']}" for row in rows)


def _trl_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield from ("", f"One optimizer step, without generation, against TRL {rows[0]['trl_version']}'s GRPOTrainer")
    yield "| TRL's micro-batch | tokens | ours | TRL | TRL/ours | gradient norm, ours | TRL |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        ours, trl = row["ours_s"], row["trl_s"]
        cells = [row["trl_micro_batch"], row["tokens"], f"{ours:.2f} s", f"{trl:.2f} s", f"{trl / ours:.2f}x"]
        yield _line(*cells, f"{row['ours_gradient_norm']:.4f}", f"{row['trl_gradient_norm']:.4f}")


def _logprobs_table(plain: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    yield from ("", f"Log-probabilities of {plain['tokens']} tokens, v = {plain['vocabulary']}, forward and backward")
    yield "| way | peak of resident memory | seconds |"
    yield "|---|---|---|"
    for way, row in (("all logits", plain), ("ours", ours)):
        yield _line(way, f"{row['nbytes'] / MB:.0f} MB", f"{row['seconds']:.1f} s")
    memory, seconds = ours["nbytes"] / plain["nbytes"], ours["seconds"] / plain["seconds"]
    yield _line("ours / all logits", f"{memory:.2f}", f"{seconds:.2f}")


def _reference_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    first = rows[0]
    yield ""
    yield f"Train steps of {first['tokens']} tokens, {first['parameters'] / 1e6:.0f} M parameters in fp32, by reference"
    yield "| reference | step | process memory | of it in host memory where there is a GPU |"
    yield "|---|---|---|---|"
    for row in rows:
        yield _line(
            row["way"], f"{row['seconds']:.2f} s", f"{row['nbytes'] / MB:.0f} MB", f"{row['host_nbytes'] / MB:.0f} MB"
        )


def _line(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _processor() -> str:
    return platform.processor() or platform.machine()


def _load() -> str:
    return "/".join(f"{value:.1f}" for value in os.getloadavg())


def _note(text: str) -> None:
    print(f"bench_learner: {text}", file=sys.stderr)


if __name__ == "__main__":
    app()
