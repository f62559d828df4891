"""A Verifier's phase in several processes, for tests: `python -m tests.phases.verifier_ranks CASES.json`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rzero_mega.learner.megatron import compat

compat.install()

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor  # noqa: E402

from rzero_mega import spmd  # noqa: E402
from rzero_mega.atomic import write_jsonl  # noqa: E402
from rzero_mega.coevolution.plan import BASE, Source, VerifierInputs  # noqa: E402
from rzero_mega.config import load_config  # noqa: E402
from rzero_mega.config.layout import ParallelLayout  # noqa: E402
from rzero_mega.learner.megatron.process_groups import start_process_groups  # noqa: E402
from rzero_mega.phase_name import PhaseName  # noqa: E402
from rzero_mega.phases import verifier  # noqa: E402
from rzero_mega.phases.context import ActivePhase, RunContext, load_encoder, new_grader  # noqa: E402
from rzero_mega.phases.runner import open_run  # noqa: E402
from rzero_mega.run import PhaseDirectory, RunDirectory  # noqa: E402
from rzero_mega.run.stop import StopRequest  # noqa: E402
from rzero_mega.tracking.progress import Progress  # noqa: E402
from rzero_mega.weights import hf_folder  # noqa: E402
from rzero_mega.weights.base_model import resolve_base_model  # noqa: E402
from tests.learner.forked_ranks import LayoutCase, main, run_program  # noqa: E402
from tests.phases.scripted import Bar  # noqa: E402
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
    spread = (f"learner.processes={case.processes}", f"learner.layout.tp={case.tp}")
    config = load_config(["paper", "nano"], [*SETTINGS, *spread])
    layout = ParallelLayout.from_config(config.learner.layout, config.learner.processes)
    start_process_groups(layout, config.seed)
    base = spmd.on_rank_0(resolve_base_model, config.model, folder / "models")
    grader, progress = new_grader(config), Progress("test", 1, writer=False)
    with closing(grader), open_run(folder / case.name, config) as run:
        ctx = RunContext(
            config, load_encoder(base), grader, None, run, layout, base, progress, wandb=None, stop=StopRequest()
        )
        bar: Any = Bar()
        phase = ActivePhase(run.phase(1, PhaseName.VERIFIER), bar, config.seed)
        spmd.on_rank_0(_begin, run, phase.directory)
        with patch.object(hf_folder, "SHARD_BYTES", 1_000_000):  # the model is several files
            verifier.run(ctx, phase, VerifierInputs(BASE, Source(1, PhaseName.LABELS, "labelled")))


def _begin(run: RunDirectory, phase: PhaseDirectory) -> None:
    """The phase, with votes to learn from."""
    labels = run.phase(1, PhaseName.LABELS)
    labels.begin({})
    write_jsonl(labels.path / "labelled.jsonl", (question.as_json() for question in VOTED))
    labels.finish({"labelled": Path("labelled.jsonl")}, {})
    phase.begin({})


if __name__ == "__main__":
    main(LayoutCase, _run)
