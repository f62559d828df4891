"""What only a GPU can show: `python -m tools.gpu_lane --output FOLDER` on a machine with one H100.

Runs the gpu-marked tests and the benchmarks of tools/gpu_steps one after another, each in a process of its own, and
brings every figure, the device and the versions together in FOLDER/gpu_lane.json. The same command goes on where the
last one stopped; `--only STEP` measures a step again. The steps' limits add up to 25 minutes; those of `--short`, other
steps about where a training step's time goes, to 12, the most valuable ones first.

Exit codes: 0, everything has run; 1, a step failed or time ran out; 2, this machine or the arguments are not usable.
Only the standard library is needed before `--wheels` has installed the rest from a folder of wheels (and of source
archives, which build against the torch that is there).
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]

if TYPE_CHECKING:
    from tools.gpu_steps.driver import Lane, Step

STEPS = {
    "tests": (270, "pytest -m gpu"),
    "spec_parity": (120, "Transformer Engine's modules against the local ones: log-probabilities and gradients"),
    "checkpoint": (120, "a checkpoint written without a GPU, loaded into Transformer Engine's modules"),
    "logprob_memory": (60, "peak memory of chunked log-probabilities against plain ones"),
    "planner": (60, "the planner's memory against torch's at layers of an 8B model"),
    "mfu": (330, "tokens per second and model FLOPs utilisation at layers of an 8B model, bf16 and FP8"),
    "fp8": (360, "FP8 recipes against bf16: loss over 200 steps, gradients, step time"),
    "cuda_ipc": (180, "an update of an SGLang server on the same GPU through CUDA-IPC handles"),
}
SHORT = {
    "output_layer": (
        80,
        "the output layer as 8B and as one rank of four has it: chunks, one chunk, scoring, plain",
    ),
    "spinning": (40, "a decode-sized graph beside blocks that spin, as those of a waiting collective do"),
    "copies": (40, "checksum of weights, copies to pageable and pinned memory and back"),
    "step_bf16": (110, "seven layers of an 8B model in bf16: step, table of kernels, parking"),
    "step_delayed": (60, "the same in FP8, recipe delayed"),
    "step_tensorwise": (60, "the same in FP8, recipe tensorwise"),
    "step_deterministic": (80, "the same in bf16 with learner.deterministic: its cost, and whether bits repeat"),
    "step_unfused": (50, "the same in bf16 with learner.fused_kernels off"),
    "rank_bf16": (70, "36 layers as one rank of four has them, in bf16"),
    "rank_delayed": (60, "the same in FP8, recipe delayed"),
    "experts": (40, "one layer of a 30B-A3B model"),
    "experts_unfused": (30, "the same with learner.fused_kernels off"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    options = _parser().parse_args(arguments)
    if options.list:
        for name, (limit, what) in (SHORT if options.short else STEPS).items():
            print(f"{name:20}{limit:>5} s  {what}")
        return 0
    if options.output is None:
        print("--output: needed, the folder where figures go", file=sys.stderr)
        return 2
    if options.wheels is not None:
        problem = install(options.wheels)
        if problem:
            print(f"--wheels {options.wheels}: {problem}", file=sys.stderr)
            return 2
    try:
        from tools.gpu_steps import driver
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed; install it, or add its wheel to --wheels", file=sys.stderr)
        return 2
    from rzero_mega.errors import UserError

    try:
        lane = _lane(options.output)
        steps = _steps(options.only in SHORT if options.only else options.short)
        chosen = [step for step in steps if options.only in (None, step.name)]
        again = [options.only] if options.only else []
        minutes = options.minutes or (12.0 if options.short else 25.0)
        records = driver.run_steps(lane, chosen, 60 * minutes, again)
        driver.write_report(lane, [*_steps(short=False), *_steps(short=True)], steps)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"figures: {options.output / driver.REPORT}")
    complete = len(records) == len(chosen)
    return 0 if complete and all(record.status != "failed" for record in records) else 1


def install(wheels: Path) -> str | None:
    """Install everything in a folder of wheels and source archives, without a network; what went wrong, or None."""
    files = sorted(str(file) for pattern in ("*.whl", "*.tar.gz") for file in wheels.glob(pattern))
    if not files:
        return "holds no .whl and no .tar.gz"
    # Transformer Engine's PyTorch part is built against the torch that is installed, not against one in isolation.
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-build-isolation", "--find-links"]
    done = subprocess.run([*command, str(wheels), *files], capture_output=True, text=True)
    lines = [line for line in (done.stderr + done.stdout).splitlines() if "ERROR" in line]
    return None if done.returncode == 0 else (lines[-1] if lines else f"pip ended with code {done.returncode}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, help="folder of the figures; an existing one is resumed")
    parser.add_argument("--only", choices=[*STEPS, *SHORT], help="run this step alone, again if it was run already")
    parser.add_argument("--short", action="store_true", help="the steps of 12 minutes, in place of those of 25")
    parser.add_argument("--list", action="store_true", help="list the steps with their time limits")
    parser.add_argument("--wheels", type=Path, help="first install all wheels and source archives of this folder")
    parser.add_argument("--minutes", type=float, help="stop after so many, 25 or with --short 12")
    return parser


def _steps(short: bool) -> list[Step]:
    from tools.gpu_steps.driver import Step

    worker = (sys.executable, "-m", "tools.gpu_steps.worker")
    steps = SHORT if short else STEPS
    return [Step(name, what, limit, (*worker, name)) for name, (limit, what) in steps.items()]


def _lane(folder: Path) -> Lane:
    """The folder, if this machine has a GPU and the folder's figures, if any, are of the same one."""
    from rzero_mega.atomic import read_json
    from rzero_mega.errors import UserError
    from tools.gpu_steps.driver import open_lane

    # A machine without a network has a checkout and not the installed package.
    variables = {"PYTHONPATH": _path("PYTHONPATH", ROOT), **_cudnn_of_torch()}
    with tempfile.TemporaryDirectory() as name:
        outcome = Path(name) / "outcome.json"
        # In a process of its own: this one must not hold memory of the GPU while steps run.
        command = [sys.executable, "-m", "tools.gpu_steps.worker", "environment", str(outcome)]
        done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
        if not outcome.is_file():
            lines = done.stderr.strip().splitlines()
            raise UserError(f"this machine cannot be looked at: {lines[-1] if lines else done.returncode}")
        found = read_json(outcome)
    problem = found.get("unavailable") or found.get("error")
    if problem:
        raise UserError(f"tools/gpu_lane.py: {problem}")
    return open_lane(folder, found["figures"], variables)


def _cudnn_of_torch() -> dict[str, str]:
    """Variables by which Transformer Engine takes the cuDNN that came with torch, unless CUDNN_HOME is set.

    It looks on the system first, and torch refuses to work with an older one that is loaded already.
    """
    if "CUDNN_HOME" in os.environ or importlib.util.find_spec("nvidia") is None:
        return {}
    spec = importlib.util.find_spec("nvidia.cudnn")
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        return {}
    return {"CUDNN_HOME": places[0], "LD_LIBRARY_PATH": _path("LD_LIBRARY_PATH", Path(places[0]) / "lib")}


def _path(variable: str, *first: Path) -> str:
    return os.pathsep.join([*map(str, first), *filter(None, [os.environ.get(variable)])])


if __name__ == "__main__":
    sys.exit(main())
