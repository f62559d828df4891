"""One step in this process: `python -m tools.gpu_steps.worker NAME OUTCOME`; `environment` describes the machine."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from tools.gpu_steps.outcome import StepFailed, Unavailable


def main(name: str, outcome: Path) -> None:
    """Run a step with the settings of a GPU and write what came of it; errors become one line."""
    try:
        written: dict[str, Any] = {"figures": _plain(_run(name, outcome))}
    except Unavailable as missing:
        written = {"unavailable": str(missing)}
    except StepFailed as failure:
        written = {"error": str(failure), "figures": _plain(failure.figures)}
    except Exception as error:
        traceback.print_exc()
        message = str(error).strip().splitlines()
        written = {"error": f"{type(error).__name__}: {message[0] if message else ''}"}
    outcome.write_text(json.dumps(written), encoding="utf-8")


def _plain(found: Any) -> Any:
    if isinstance(found, Mapping):
        return {name: _plain(value) for name, value in found.items()}
    return asdict(found) if is_dataclass(found) and not isinstance(found, type) else found


def _run(name: str, outcome: Path) -> Mapping[str, Any] | object:
    # Each step imports what it needs: what one lacks must not keep the others from running.
    match name:
        case "environment":
            from tools.gpu_steps import environment

            return environment.run()
        case "tests":
            from tools.gpu_steps import marked_tests

            return marked_tests.run(marked_tests.Settings())
        case "spec_parity":
            from tools.gpu_steps import spec_parity

            return spec_parity.run(spec_parity.Settings())
        case "fp8":
            from tools.gpu_steps import fp8

            return fp8.run(fp8.Settings())
        case "checkpoint":
            from tools.gpu_steps import checkpoint

            return checkpoint.run(checkpoint.Settings())
        case "mfu":
            from tools.gpu_steps import mfu

            return mfu.run(mfu.Settings())
        case "logprob_memory":
            from tools.gpu_steps import logprob_memory

            return logprob_memory.run(logprob_memory.Settings())
        case "planner":
            from tools.gpu_steps import planner

            return planner.run(planner.Settings())
        case "cuda_ipc":
            from tools.gpu_steps import cuda_ipc

            return cuda_ipc.run(cuda_ipc.Settings(log=outcome.parent.parent / "logs" / "sglang_server.log"))
        case "output_layer":
            from tools.gpu_steps import output_layer

            return output_layer.run(output_layer.Settings())
        case "spinning":
            from tools.gpu_steps import spinning

            return spinning.run(spinning.Settings())
        case "copies":
            from tools.gpu_steps import copies

            return copies.run(copies.Settings())
        case _:
            from tools.gpu_steps import step

            if name in step.STEPS:
                return step.run(step.STEPS[name], step.MODELS)
    raise ValueError(f"no step {name}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
