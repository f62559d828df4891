"""How fast weights move: `python -m tools.bench_weights [--json]`. Every figure is measured in this one run.

Resharding: the learner's model of 100 M and 1 B parameters (bf16, random), spread over processes, brought together as
full Hugging Face tensors by the reference and by the fast executor, against copying the same bytes in memory. Disk: the
disk transport against writing the same bytes raw. Convert: both directions against reading and writing the same bytes.
The order of what is compared alternates; figures are medians. Peaks are what a process needs on top of its model.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from tools.measurement import Peak, alternate

LAYOUTS = {"tp1": (1, 1), "tp2": (2, 1), "pp2": (1, 2), "tp2-pp2": (2, 2)}
SIZES = ("100m", "1b")
MB = 1 << 20
STORE = "RZERO_MEGA_STORE"
app = typer.Typer(add_completion=False)


@dataclass
class Reshard:
    """One model under one layout. Seconds are medians; peaks are bytes on the receiving process."""

    size: str
    layout: str
    nbytes: int
    bucket_bytes: int
    largest_tensor: int
    reference_s: float
    fast_s: float
    fast_to_all_s: float
    memcpy_s: float
    reference_peak: int
    fast_peak: int


@dataclass
class Against:
    """Something against the plain way of moving the same bytes; seconds are medians."""

    size: str
    what: str
    nbytes: int
    ours_s: float
    plain_s: float
    peak: int = 0


@dataclass
class Results:
    """All figures, and where they were measured."""

    machine: str
    reshard: list[Reshard] = field(default_factory=list)
    against: list[Against] = field(default_factory=list)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    sizes: Annotated[str, typer.Option(help="Comma-separated: 100m, 1b.")] = ",".join(SIZES),
    layouts: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(LAYOUTS),
    repeats: Annotated[int, typer.Option(help="Measurements per figure.")] = 5,
    bucket_mb: Annotated[int, typer.Option(help="weights.bucket_mb")] = 128,
    folder: Annotated[Path | None, typer.Option(help="Where files are written.")] = None,
) -> None:
    """Measure everything and print a table, or JSON."""
    if context.invoked_subcommand is not None:
        return
    results = Results(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, load {_load()}")
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-weights-") as name:
        for size in sizes.split(","):
            _note(f"{size}: writing a random model")
            model = Path(name) / size
            _random_model(size, model)
            for layout in layouts.split(","):
                _note(f"{size}: {layout}")
                results.reshard.append(_reshard(size, layout, model, repeats, bucket_mb, Path(name)))
            _note(f"{size}: disk")
            results.against.append(_disk(size, model, repeats, Path(name)))
            _note(f"{size}: convert")
            results.against += _convert(size, model, repeats, Path(name))
            shutil.rmtree(model)
    print(json.dumps(asdict(results), indent=2) if as_json else _table(results))


# Resharding


def _reshard(size: str, layout: str, model: Path, repeats: int, bucket_mb: int, folder: Path) -> Reshard:
    tp, pp = LAYOUTS[layout]
    out = folder / f"{size}-{layout}.json"
    arguments = ["rank", str(model), str(tp), str(pp), str(repeats), str(bucket_mb), str(out)]
    with tempfile.TemporaryDirectory() as meeting:
        ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "tools.bench_weights", *arguments],
                env={
                    **os.environ,
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(tp * pp),
                    STORE: f"{meeting}/store",
                    "OMP_NUM_THREADS": "1",
                    "GLOO_SOCKET_IFNAME": "lo",
                },
            )
            for rank in range(tp * pp)
        ]
        codes = [process.wait() for process in ranks]
    if any(codes):
        raise SystemExit(f"bench_weights: a process of {size} under {layout} failed")
    return Reshard(size=size, layout=layout, **json.loads(out.read_text()))


@app.command(hidden=True)
def rank(model: Path, tp: int, pp: int, repeats: int, bucket_mb: int, out: Path) -> None:
    """One process of a layout."""
    from rzero_mega.learner.megatron import compat

    compat.install()
    import torch
    import torch.distributed as dist

    from rzero_mega.config.layout import ParallelLayout
    from rzero_mega.config.schema import LearnerConfig, WeightsConfig
    from rzero_mega.learner.export import weight_source
    from rzero_mega.learner.megatron.model import build_model, load_weights
    from rzero_mega.learner.megatron.process_groups import start_process_groups
    from rzero_mega.weights.mapping import entries
    from rzero_mega.weights.shape import read_shape

    torch.set_num_threads(1)
    layout = ParallelLayout(tp=tp, pp=pp, etp=tp)
    start_process_groups(layout, 0)
    shape = read_shape(model)
    built = build_model(shape, layout, LearnerConfig(dtype="bfloat16"))
    load_weights(built, model)
    everyone = range(tp * pp)
    ways = {
        "reference": weight_source(built, [0], WeightsConfig(executor="reference", bucket_mb=bucket_mb)),
        "fast": weight_source(built, [0], WeightsConfig(bucket_mb=bucket_mb)),
        "fast_to_all": weight_source(built, everyone, WeightsConfig(bucket_mb=bucket_mb)),
    }
    sizes = [torch.Size(size).numel() * 2 for entry in entries(shape) for size in entry.sizes]
    seconds: dict[str, list[float]] = {name: [] for name in (*ways, "memcpy")}
    peaks = dict.fromkeys(ways, 0)
    for _ in range(repeats):
        for name, source in ways.items():
            dist.barrier()
            with Peak() as peak:
                start = time.perf_counter()
                for _bucket in source:
                    pass
                dist.barrier()
                seconds[name].append(time.perf_counter() - start)
            peaks[name] = max(peaks[name], peak.nbytes)
        seconds["memcpy"].append(_memcpy(sum(sizes)) if dist.get_rank() == 0 else 0.0)
    if dist.get_rank() == 0:
        found = {f"{name}_s": median(values) for name, values in seconds.items()}
        found |= {"reference_peak": peaks["reference"], "fast_peak": peaks["fast"]}
        found |= {"nbytes": sum(sizes), "bucket_bytes": bucket_mb * MB, "largest_tensor": max(sizes)}
        out.write_text(json.dumps(found))
    dist.barrier()
    os._exit(0)


def _memcpy(nbytes: int) -> float:
    """Seconds to copy so many bytes between two buffers of 64 MB that exist."""
    import torch

    size = 64 * MB
    source, target = torch.ones(size, dtype=torch.uint8), torch.ones(size, dtype=torch.uint8)
    start = time.perf_counter()
    for done in range(0, nbytes, size):
        part = min(size, nbytes - done)
        target[:part].copy_(source[:part])
    return time.perf_counter() - start


# Disk


def _disk(size: str, model: Path, repeats: int, folder: Path) -> Against:
    from rzero_mega.weights.bucket import Bucket, to_buckets
    from rzero_mega.weights.hf_folder import HfWeights
    from rzero_mega.weights.safetensors_file import raw_bytes
    from rzero_mega.weights.transports.disk import DiskTransport

    with HfWeights(model) as weights:
        buckets = list(to_buckets(((name, weights.tensor(name)) for name in weights.names()), 128 * MB))
    transport = DiskTransport(folder / "disk")

    def plain(given: Sequence[Bucket]) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as target:
            for number, bucket in enumerate(given):
                with open(f"{target}/{number}", "wb", buffering=0) as file:
                    view = raw_bytes(bucket.data)
                    while view:
                        view = view[file.write(view) :]

    ways = {"ours": lambda: transport.send([], iter(buckets)), "plain": lambda: plain(buckets)}
    seconds = alternate(repeats, ways, time.perf_counter)
    return Against(size, "disk transport", sum(b.data.nbytes for b in buckets), seconds["ours"], seconds["plain"])


# Convert


def _convert(size: str, model: Path, repeats: int, folder: Path) -> list[Against]:
    """Each conversion in a process of its own, which tells its seconds without imports, and its peak."""
    nbytes = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    seconds: dict[str, list[float]] = {"to Megatron": [], "to Hugging Face": [], "plain": []}
    peaks = {"to Megatron": 0, "to Hugging Face": 0}
    for _ in range(repeats):
        megatron, back = folder / "megatron", folder / "back"
        for what, source, target in (("to Megatron", model, megatron), ("to Hugging Face", megatron, back)):
            done = subprocess.run(
                [sys.executable, "-m", "tools.bench_weights", "conversion", str(source), str(target), str(model)],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=True,
            )
            found = json.loads(done.stdout.splitlines()[-1])
            seconds[what].append(found["seconds"])
            peaks[what] = max(peaks[what], found["peak"])
        seconds["plain"].append(_plain_copy(model, folder / "copy"))
        for made in (megatron, back):
            shutil.rmtree(made)
    plain = median(seconds["plain"])
    return [Against(size, f"convert {what}", nbytes, median(seconds[what]), plain, peaks[what]) for what in peaks]


@app.command(hidden=True)
def conversion(source: Path, target: Path, template: Path) -> None:
    """One conversion."""
    from rzero_mega.learner.megatron import compat

    compat.install()
    from rzero_mega.learner.checkpoints.conversion.convert import convert

    with Peak() as peak:
        start = time.perf_counter()
        convert(source, target, template=None if (source / "config.json").is_file() else template)
        elapsed = time.perf_counter() - start
    print(json.dumps({"seconds": elapsed, "peak": peak.nbytes}))


def _plain_copy(model: Path, target: Path) -> float:
    """Seconds to read and write the model's bytes through one buffer of 16 MB."""
    target.mkdir()
    buffer = bytearray(16 * MB)
    start = time.perf_counter()
    for file in sorted(model.glob("*.safetensors")):
        with open(file, "rb", buffering=0) as source, open(target / file.name, "wb", buffering=0) as copy:
            while count := source.readinto(buffer):
                view = memoryview(buffer)[:count]
                while view:
                    view = view[copy.write(view) :]
    elapsed = time.perf_counter() - start
    shutil.rmtree(target)
    return elapsed


def _random_model(size: str, folder: Path) -> None:
    import torch

    from tools.random_model import SHAPES, write_random_model

    write_random_model(folder, SHAPES[size], torch.bfloat16)


# Output


def _table(results: Results) -> str:
    return "\n".join(_lines(results))


def _lines(results: Results) -> Iterator[str]:
    yield results.machine
    yield ""
    names = ("reference", "fast", "fast, every rank", "reference/fast", "fast/memcpy", "peak reference", "peak fast")
    yield f"| model | layout | {' | '.join(names)} |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in results.reshard:
        cells: list[Any] = [row.size, row.layout]
        cells += [f"{row.reference_s:.2f} s", f"{row.fast_s:.2f} s", f"{row.fast_to_all_s:.2f} s"]
        cells += [f"{row.reference_s / row.fast_s:.1f}x", f"{row.fast_s / row.memcpy_s:.1f}x"]
        cells += [f"{row.reference_peak / MB:.0f} MB", f"{row.fast_peak / MB:.0f} MB"]
        yield "| " + " | ".join(cells) + " |"
    first = results.reshard[0]
    yield f"buckets of {first.bucket_bytes / MB:.0f} MB; a tensor that is larger has a bucket of its own"
    yield ""
    yield "| model | what | bytes | ours | plain | ratio | peak |"
    yield "|---|---|---|---|---|---|---|"
    for item in results.against:
        cells = [item.size, item.what, f"{item.nbytes / MB:.0f} MB", f"{item.ours_s:.2f} s", f"{item.plain_s:.2f} s"]
        cells += [f"{item.ours_s / item.plain_s:.2f}x", f"{item.peak / MB:.0f} MB" if item.peak else "–"]
        yield "| " + " | ".join(cells) + " |"


def _load() -> str:
    return "/".join(f"{value:.1f}" for value in os.getloadavg())


def _note(text: str) -> None:
    print(f"bench_weights: {text}", file=sys.stderr)


if __name__ == "__main__":
    app()
