"""A Verifier's phase in several processes, for tests: `python -m tests.phases.verifier_ranks CASES.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rzero_mega.learner.megatron import compat

compat.install()

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor  # noqa: E402

from rzero_mega.coevolution.plan import BASE, Source, VerifierInputs  # noqa: E402
from rzero_mega.phase_name import PhaseName  # noqa: E402
from rzero_mega.phases import verifier  # noqa: E402
from rzero_mega.run import PhaseDirectory  # noqa: E402
from rzero_mega.weights import hf_folder  # noqa: E402
from tests.learner.forked_ranks import LayoutCase, main, run_program  # noqa: E402
from tests.phases.on_ranks import phase_on_ranks  # noqa: E402
from tests.phases.voted import VOTED  # noqa: E402

# The large epsilon makes AdamW a smooth function of the gradient, as in tests/learner/test_layouts.py.
OPTIMIZER = "{learning_rate: 0.03, epsilon: 0.1}"
SETTINGS = (
    "verifier.train=true",
    "verifier.training={steps: 2, prompts_per_step: 4, rollouts_per_prompt: 4, grpo: {sequences_per_update: 8}}",
    f"verifier.training.optimizer={OPTIMIZER}",
    f"verifier.warm_up={{steps: 40, sft: {{sequences_per_update: 16}}, optimizer: {OPTIMIZER}}}",
    "verifier.training.sampling.max_new_tokens=16",
    "verifier.sampling.max_new_tokens=16",
    "verifier.samples=3",
    "verifier.gate.share=0.5",
    "learner.tokens_per_micro_batch=128",
    "evaluation.benchmarks=[]",
    "grading.workers=1",
    "run.minimum_free_mb=0",
)


@dataclass(frozen=True)
class Outcome:
    """What a case's phase left: the rows of its steps, its summary, and the weights of its model, by file."""

    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    weights: dict[str, dict[str, Tensor]]


def run_cases(cases: Sequence[LayoutCase], folder: Path) -> dict[str, Outcome]:
    """Of every case by its name."""
    run_program(__name__, cases, folder)
    return {case.name: _outcome(PhaseDirectory(folder / case.name, 1, PhaseName.VERIFIER)) for case in cases}


def _outcome(phase: PhaseDirectory) -> Outcome:
    phase.check_output("model", phase.output_files("model"))
    files = sorted(phase.output("model").glob("*.safetensors"))
    manifest = phase.manifest()
    assert manifest is not None
    return Outcome(phase.metrics(), dict(manifest.summary), {file.name: load_file(file) for file in files})


def _run(case: LayoutCase, folder: Path) -> None:
    settings = [*SETTINGS, f"learner.processes={case.processes}", f"learner.layout.tp={case.tp}"]
    with (
        phase_on_ranks(folder, case.name, settings, PhaseName.VERIFIER, "labelled", VOTED) as (ctx, phase),
        patch.object(hf_folder, "SHARD_BYTES", 1_000_000),  # the model is several files
    ):
        verifier.run(ctx, phase, VerifierInputs(BASE, Source(1, PhaseName.LABELS, "labelled")))


if __name__ == "__main__":
    main(LayoutCase, _run)
