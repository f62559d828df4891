"""A Critic's phase in several processes, for tests: `python -m tests.phases.critic_ranks CASES.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rzero_mega.learner.megatron import compat

compat.install()

from rzero_mega import spmd  # noqa: E402
from rzero_mega.atomic import write_jsonl  # noqa: E402
from rzero_mega.coevolution.plan import BASE, CriticInputs, Source  # noqa: E402
from rzero_mega.config import load_config  # noqa: E402
from rzero_mega.config.layout import ParallelLayout  # noqa: E402
from rzero_mega.domains.domain import ScoredAnswers  # noqa: E402
from rzero_mega.learner.megatron.process_groups import start_process_groups  # noqa: E402
from rzero_mega.phase_name import PhaseName  # noqa: E402
from rzero_mega.phases import critic  # noqa: E402
from rzero_mega.phases.context import ActivePhase, RunContext, load_encoder, new_grader  # noqa: E402
from rzero_mega.phases.judging import judge_of  # noqa: E402
from rzero_mega.phases.runner import open_run  # noqa: E402
from rzero_mega.run import PhaseDirectory, RunDirectory  # noqa: E402
from rzero_mega.run.stop import StopRequest  # noqa: E402
from rzero_mega.tracking.progress import Progress  # noqa: E402
from rzero_mega.weights.base_model import resolve_base_model  # noqa: E402
from tests.learner.forked_ranks import LayoutCase, main, run_program  # noqa: E402
from tests.phases.scored import SCORED  # noqa: E402
from tests.phases.scripted import Bar  # noqa: E402

SETTINGS = (
    "domain=rewriting",
    "critic={train: true, steps: 2, loss: {pairs_per_update: 3}, gate: {share: 0.3, pairs: 3, minimum: 0.0}}",
    # The large epsilon makes AdamW a smooth function of the gradient, as in tests/learner/test_layouts.py.
    "critic.optimizer={learning_rate: 0.03, epsilon: 0.1}",
    "labels.votes.sampling.max_new_tokens=8",
    "learner.tokens_per_micro_batch=256",
    "evaluation.benchmarks=[]",
    "run.minimum_free_mb=0",
)
ANSWERS = Source(1, PhaseName.LABELS, "scored")


def run_cases(cases: Sequence[LayoutCase], folder: Path) -> dict[str, tuple[dict[str, Any], list[float]]]:
    """Of every case by its name: what the phase says, and scores by its Critic, which all ranks had alike."""
    run_program(__name__, cases, folder)
    return {case.name: _outcome(folder / case.name) for case in cases}


def _outcome(folder: Path) -> tuple[dict[str, Any], list[float]]:
    manifest = PhaseDirectory(folder, 1, PhaseName.CRITIC).manifest()
    assert manifest is not None
    first, *others = json.loads((folder / "scores.json").read_text())
    assert all(scores == first for scores in others)
    return dict(manifest.summary), first


def _run(case: LayoutCase, folder: Path) -> None:
    config = load_config(["paper", "nano"], [*SETTINGS, f"learner.processes={case.processes}"])
    layout = ParallelLayout.from_config(config.learner.layout, config.learner.processes)
    start_process_groups(layout, config.seed)
    base = spmd.on_rank_0(resolve_base_model, config.model, folder / "models")
    grader, progress = new_grader(config), Progress("test", 1, writer=False)
    with closing(grader), open_run(folder / case.name, config) as run:
        ctx = RunContext(
            config, load_encoder(base), grader, None, run, layout, base, progress, wandb=None, stop=StopRequest()
        )
        bar: Any = Bar()
        phase = ActivePhase(run.phase(1, PhaseName.CRITIC), bar, config.seed)
        spmd.on_rank_0(_begin, run, phase.directory)
        # The base is the Solver whose answers are drawn here, too: the real engine, on all ranks.
        critic.run(ctx, phase, CriticInputs(BASE, ANSWERS, rival=BASE))
        domain = ctx.domain.answers
        assert isinstance(domain, ScoredAnswers)
        judge = judge_of(ctx, domain, Source(1, PhaseName.CRITIC, "model"))
        found = spmd.all_gather(judge.scores([(row.question.text, answer) for row in SCORED for answer in row.answers]))
        if spmd.rank() == 0:
            (folder / case.name / "scores.json").write_text(json.dumps(found))


def _begin(run: RunDirectory, phase: PhaseDirectory) -> None:
    """The phase, with answers to learn from."""
    labels = run.phase(1, PhaseName.LABELS)
    labels.begin({})
    write_jsonl(labels.path / "scored.jsonl", (row.as_json() for row in SCORED))
    labels.finish({"scored": Path("scored.jsonl")}, {})
    phase.begin({})


if __name__ == "__main__":
    main(LayoutCase, _run)
